"""LoRA files as things: read in every form, turned into another, made smaller, merged, stripped; delta-W is computed here anew, by plain matrix products."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lora_cases import WIDTH, arrays, kohya_flux, kohya_unet, random, save

from lorakit.errors import LorakitError
from lorakit.weights.adapters import Array, opened_lora, stored
from lorakit.weights.keys import FORMS, read_lora
from lorakit.weights.rewrite import (
    convert,
    cut_ranks,
    delta_error,
    merge_into_base,
    merge_loras,
    strip,
)
from lorakit.weights.safetensors import read_header, write


def test_a_flux_lora_is_the_same_in_every_form_and_back(tmp_path: Path) -> None:
    first = kohya_flux(tmp_path / "kohya.safetensors")
    before = arrays(first)
    convert(read_lora(first), tmp_path / "diffusers.safetensors", "diffusers")
    pieces = arrays(tmp_path / "diffusers.safetensors")
    head = "lora_unet_double_blocks_0_img_attn_qkv"
    wanted = before[f"{head}.lora_up.weight"] @ before[f"{head}.lora_down.weight"] * (2.0 / 4)
    names = [f"transformer.transformer_blocks.0.attn.to_{part}" for part in "qkv"]
    found = [pieces[f"{name}.lora_B.weight"] @ pieces[f"{name}.lora_A.weight"] for name in names]
    assert np.allclose(np.vstack(found), wanted, atol=1e-5)
    assert not any("alpha" in name for name in pieces)
    for form in ("comfy", "kohya"):
        source = read_lora(tmp_path / "diffusers.safetensors")
        assert convert(source, tmp_path / f"again-{form}.safetensors", form).error < 1e-6
        again = read_lora(tmp_path / f"again-{form}.safetensors")
        assert delta_error(read_lora(first), again) < 1e-6
        assert {again.rank(module) for module in again.modules} == {4}  # nothing grew on the way
    assert sorted(arrays(tmp_path / "again-kohya.safetensors")) == sorted(
        {*before, "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha"}
    )


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("form", FORMS)
def test_a_unets_lora_goes_through_every_form(family: str, form: str, tmp_path: Path) -> None:
    first = read_lora(kohya_unet(tmp_path / "kohya.safetensors", family))
    assert first.family == family
    assert convert(first, tmp_path / "other.safetensors", form).error < 1e-6
    other = read_lora(tmp_path / "other.safetensors")
    assert other.form == form
    assert convert(other, tmp_path / "back.safetensors", "kohya").error < 1e-6
    assert sorted(arrays(tmp_path / "back.safetensors")) == sorted(arrays(first.path))


def test_pieces_trained_apart_become_one_module_of_their_ranks_together(tmp_path: Path) -> None:
    name = "transformer.transformer_blocks.0.attn.to_"
    tensors = {}
    for number, part in enumerate("qv"):  # k was not trained
        tensors[f"{name}{part}.lora_A.weight"] = random(4, WIDTH, seed=number)
        tensors[f"{name}{part}.lora_B.weight"] = random(WIDTH, 4, seed=number + 7)
    source = save(tmp_path / "toolkit.safetensors", tensors, {"ss_base_model_version": "flux.1"})
    assert convert(read_lora(source), tmp_path / "k.safetensors", "kohya").error < 1e-6
    found = arrays(tmp_path / "k.safetensors")
    head = "lora_unet_double_blocks_0_img_attn_qkv"
    delta = found[f"{head}.lora_up.weight"] @ found[f"{head}.lora_down.weight"]
    assert found[f"{head}.lora_down.weight"].shape == (8, WIDTH)
    assert not delta[WIDTH : 2 * WIDTH].any() and delta[:WIDTH].any()
    convert(read_lora(tmp_path / "k.safetensors"), tmp_path / "back.safetensors", "diffusers")
    back = arrays(tmp_path / "back.safetensors")
    assert all(np.allclose(back[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize(
    "prefix",
    [
        "lora_unet_layers_0_attention_to_out_0",
        "diffusion_model.layers.0.attention.to_out.0",
        "base_model.model.layers.0.attention.to_out.0",
    ],
)
def test_musubis_comfys_and_pefts_names_mean_one_module(prefix: str, tmp_path: Path) -> None:
    down, up = ("lora_down", "lora_up") if prefix.startswith("lora_") else ("lora_A", "lora_B")
    tensors = {f"{prefix}.{down}.weight": random(2, 8), f"{prefix}.{up}.weight": random(8, 2)}
    lora = read_lora(save(tmp_path / "z.safetensors", tensors))
    assert [module.name for module in lora.modules] == ["layers.0.attention.to_out.0"]


def test_alpha_that_peft_keeps_in_the_header_is_honoured(tmp_path: Path) -> None:
    tensors = {
        "transformer.x.lora_A.weight": random(4, 8),
        "transformer.x.lora_B.weight": random(8, 4),
    }
    said = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 8, "transformer.r": 4})}
    lora = read_lora(save(tmp_path / "p.safetensors", tensors, said))
    with opened_lora(lora) as numbers:
        found = numbers.delta(lora.modules[0])
    assert np.allclose(
        found, 2 * tensors["transformer.x.lora_B.weight"] @ tensors["transformer.x.lora_A.weight"]
    )


def lycoris(kind: str) -> dict[str, Array]:
    if kind == "LoHa":
        return {
            f"hada_w{n}_{side}": random(6, 3, seed=n) if side == "a" else random(3, 5, seed=n)
            for n in (1, 2)
            for side in "ab"
        }
    return {"lokr_w1": random(2, 3), "lokr_w2_a": random(4, 3), "lokr_w2_b": random(3, 5)}


@pytest.mark.parametrize("kind", ["LoHa", "LoKr"])
def test_lycoris_modules_are_read_renamed_and_refused_where_a_form_cannot_say_them(
    kind: str, tmp_path: Path
) -> None:
    parts = lycoris(kind)
    tensors = {f"lycoris_blocks_0_ffn_0.{word}": array for word, array in parts.items()}
    tensors["lycoris_blocks_0_ffn_0.alpha"] = np.array(1.5, dtype=np.float32)
    lora = read_lora(save(tmp_path / "l.safetensors", tensors))
    assert lora.modules[0].kind == kind
    if kind == "LoHa":
        wanted = (parts["hada_w1_a"] @ parts["hada_w1_b"]) * (
            parts["hada_w2_a"] @ parts["hada_w2_b"]
        )
    else:
        wanted = np.kron(parts["lokr_w1"], parts["lokr_w2_a"] @ parts["lokr_w2_b"])
    with opened_lora(lora) as numbers:
        assert np.allclose(numbers.delta(lora.modules[0]), wanted * 0.5, atol=1e-5)
    convert(lora, tmp_path / "c.safetensors", "comfy")
    assert sorted(arrays(tmp_path / "c.safetensors")) == sorted(
        f"diffusion_model.blocks.0.ffn.0.{word}" for word in [*parts, "alpha"]
    )
    with pytest.raises(LorakitError, match="does not know what diffusers calls"):
        convert(lora, tmp_path / "d.safetensors", "diffusers")


def test_a_cut_lora_is_the_best_one_of_its_rank_and_says_what_is_lost(tmp_path: Path) -> None:
    source = kohya_unet(tmp_path / "big.safetensors", "sdxl")
    done = cut_ranks(read_lora(source), tmp_path / "small.safetensors", 2)
    before, after = arrays(source), arrays(tmp_path / "small.safetensors")
    lost = whole = 0.0
    for key in [key for key in before if key.endswith("lora_down.weight")]:
        head = key.removesuffix(".lora_down.weight")
        deltas = []
        for one in (before, after):
            down, up, alpha = one[key], one[f"{head}.lora_up.weight"], one[f"{head}.alpha"]
            deltas.append(
                up.reshape(len(up), -1) @ down.reshape(len(down), -1) * float(alpha) / len(down)
            )
        left, values, right = np.linalg.svd(deltas[0], full_matrices=False)
        assert np.allclose(deltas[1], (left[:, :2] * values[:2]) @ right[:2], atol=1e-4)
        assert after[key].shape == (2, *before[key].shape[1:])
        lost, whole = lost + float((values[2:] ** 2).sum()), whole + float((values**2).sum())
    assert done.error == pytest.approx((lost / whole) ** 0.5, rel=1e-3)
    assert set(done.blocks) == {"input_blocks.4"}


def test_two_loras_of_different_forms_and_ranks_are_summed_exactly(tmp_path: Path) -> None:
    one = read_lora(kohya_flux(tmp_path / "a.safetensors", rank=4, seed=1))
    other = read_lora(kohya_flux(tmp_path / "b.safetensors", rank=6, seed=5))
    convert(other, tmp_path / "b2.safetensors", "diffusers")
    both = [(one, 0.5), (read_lora(tmp_path / "b2.safetensors"), -0.25)]
    merge_loras(both, tmp_path / "m.safetensors")
    head, found = "lora_unet_single_blocks_3_linear1", arrays(tmp_path / "m.safetensors")
    wanted = np.zeros((7 * WIDTH, WIDTH), dtype=np.float32)
    for lora, weight, rank in ((one, 0.5, 4), (other, -0.25, 6)):
        old = arrays(lora.path)
        wanted += (
            weight * 2.0 / rank * old[f"{head}.lora_up.weight"] @ old[f"{head}.lora_down.weight"]
        )
    delta = found[f"{head}.lora_up.weight"] @ found[f"{head}.lora_down.weight"]
    assert np.allclose(delta, wanted, atol=1e-4)
    done = merge_loras(both, tmp_path / "m4.safetensors", rank=4)
    assert done.error > 0 and found.keys() == arrays(tmp_path / "m4.safetensors").keys()


def test_stripping_keeps_every_tensor_and_only_what_programs_need(tmp_path: Path) -> None:
    source = kohya_flux(tmp_path / "a.safetensors")
    assert strip(source, tmp_path / "s.safetensors") == ("ss_tag_frequency",)
    old, new = source.read_bytes(), (tmp_path / "s.safetensors").read_bytes()
    assert old[read_header(source).begin :] == new[read_header(tmp_path / "s.safetensors").begin :]
    assert dict(read_header(tmp_path / "s.safetensors").metadata) == {
        "ss_base_model_version": "flux1"
    }


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_rounded_numbers_stay_as_near_as_their_format_allows(dtype: str, tmp_path: Path) -> None:
    source = kohya_flux(tmp_path / "a.safetensors", alpha=3.0, dtype=dtype)
    done = convert(read_lora(source), tmp_path / "b.safetensors", "diffusers")
    assert 0 < done.error < {"BF16": 0.01, "F16": 0.001}[dtype]
    assert convert(read_lora(source), tmp_path / "c.safetensors", "diffusers", "F32").error < 1e-6


def test_bf16_rounds_as_torch_rounds(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    values = np.concatenate([random(5000) * 1e3, [np.inf, -np.inf, 0.0, 3.39e38, 1e-40]]).astype(
        np.float32
    )
    wanted = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy()
    assert np.array_equal(np.frombuffer(stored(values, "BF16")[2], dtype=np.int16), wanted)
    assert stored(np.array([np.nan], dtype=np.float32), "BF16")[2] == b"\xc0\x7f"
    for kind, theirs in (("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2)):
        bits = np.arange(256, dtype=np.uint8)
        write(tmp_path / kind, {"x": (kind, (256,))}, {}, [bits.tobytes()])
        found = arrays(tmp_path / kind)["x"]
        meant = torch.from_numpy(bits).view(theirs).float().numpy()
        assert np.array_equal(found, meant, equal_nan=True)


def test_nothing_is_overwritten_and_what_is_no_lora_is_told(tmp_path: Path) -> None:
    source = kohya_flux(tmp_path / "a.safetensors")
    for act in (lambda: convert(read_lora(source), source, "comfy"), lambda: strip(source, source)):
        with pytest.raises(LorakitError, match="is there already"):
            act()
    checkpoint: dict[str, Any] = {
        "model.diffusion_model.input_blocks.0.0.weight": random(4, 4, 3, 3)
    }
    with pytest.raises(LorakitError, match="a checkpoint"):
        read_lora(save(tmp_path / "base.safetensors", checkpoint))
    (tmp_path / "old.ckpt").write_bytes(b"PK\x03\x04")
    with pytest.raises(LorakitError, match="pickled"):
        read_lora(tmp_path / "old.ckpt")


def test_a_base_takes_two_loras_into_the_layers_they_are_for(tmp_path: Path) -> None:
    first = kohya_unet(tmp_path / "lora.safetensors", "sdxl")
    extra = {
        "lora_te2_text_model_encoder_layers_0_self_attn_k_proj.lora_down.weight": random(2, 6),
        "lora_te2_text_model_encoder_layers_0_self_attn_k_proj.lora_up.weight": random(6, 2),
    }
    second = save(tmp_path / "text.safetensors", extra, {"ss_base_model_version": "sdxl_base_v1-0"})
    unet, text = (
        "model.diffusion_model.",
        "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight",
    )
    base = {
        f"{unet}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": random(12, 2048),
        f"{unet}input_blocks.4.1.proj_in.weight": random(12, 12, 1, 1),
        f"{unet}input_blocks.4.0.in_layers.2.weight": random(12, 12, 3, 3),
        f"{unet}out.2.weight": random(4, 12, 3, 3),
        text: random(18, 6),
    }
    save(tmp_path / "base.safetensors", base, {"modelspec.title": "base"})
    loras = [(read_lora(first), 0.5), (read_lora(second), 2.0)]
    done = merge_into_base(tmp_path / "base.safetensors", loras, tmp_path / "merged.safetensors")
    assert done.modules == 4
    found = arrays(tmp_path / "merged.safetensors")
    with opened_lora(loras[0][0]) as numbers:
        for module in loras[0][0].modules:
            name = f"{unet}{module.path}.weight"
            delta = numbers.delta(module).reshape(base[name].shape)
            assert np.allclose(found[name], base[name] + 0.5 * delta, atol=1e-4), name
    key = (
        extra["lora_te2_text_model_encoder_layers_0_self_attn_k_proj.lora_up.weight"]
        @ extra["lora_te2_text_model_encoder_layers_0_self_attn_k_proj.lora_down.weight"]
    )
    assert np.allclose(found[text][6:12], base[text][6:12] + 2 * key, atol=1e-4)
    assert np.array_equal(found[text][:6], base[text][:6])
    assert np.array_equal(found[f"{unet}out.2.weight"], base[f"{unet}out.2.weight"])


def test_a_base_without_the_loras_layers_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    lora = read_lora(kohya_flux(tmp_path / "lora.safetensors"))
    base = {"double_blocks.0.img_attn.qkv.weight": random(3 * WIDTH, WIDTH)}
    save(tmp_path / "base.safetensors", base)
    with pytest.raises(LorakitError, match="no layer for 5 of its 6 modules"):
        merge_into_base(tmp_path / "base.safetensors", [(lora, 1.0)], tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("transformer.transformer_blocks.0.img_mlp.net.2.lora_A.weight", "qwen_image"),
        ("lora_unet_layers_0_attention_to_q.lora_down.weight", "zimage"),
        ("transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight", "flux"),
        ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight", "sdxl"),
        ("lora_unet_output_blocks_3_1_proj_in.lora_down.weight", "sdxl"),
    ],
)
def test_a_lora_without_metadata_is_known_by_its_modules(
    key: str, family: str, tmp_path: Path
) -> None:
    up = key.replace("lora_A", "lora_B").replace("lora_down", "lora_up")
    path = save(tmp_path / "x.safetensors", {key: random(2, 2048), up: random(8, 2)})
    assert read_lora(path).family == family


def test_what_diffusers_calls_a_module_is_not_guessed(tmp_path: Path) -> None:
    head = "transformer.transformer_blocks.0.attn.to_q"
    path = save(
        tmp_path / "x.safetensors",
        {f"{head}.lora_A.weight": random(2, 8), f"{head}.lora_B.weight": random(8, 2)},
    )
    with pytest.raises(LorakitError, match="does not know what diffusers calls"):
        convert(read_lora(path), tmp_path / "k.safetensors", "kohya")


def test_a_loha_of_a_known_family_is_refused_for_diffusers(tmp_path: Path) -> None:
    tensors = {
        f"lora_unet_input_blocks_4_1_proj_in.{word}": one for word, one in lycoris("LoHa").items()
    }
    path = save(tmp_path / "l.safetensors", tensors, {"ss_base_model_version": "sdxl_base_v1-0"})
    with pytest.raises(LorakitError, match="cannot say"):
        convert(read_lora(path), tmp_path / "d.safetensors", "diffusers")
