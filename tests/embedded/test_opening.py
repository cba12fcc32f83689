"""Bases as people have them, opened from names and headers, and refused with a word that helps."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402 -- after the check that torch is there
from tiny_bases import CLIP, make_tiny, randomise, stored  # noqa: E402

from lorakit.embedded.models import layouts, open_base  # noqa: E402
from lorakit.embedded.models.clip import CLIPText  # noqa: E402
from lorakit.embedded.models.unet import UNet  # noqa: E402
from lorakit.embedded.models.vae import VAE  # noqa: E402
from lorakit.embedded.models.weights import (  # noqa: E402
    TensorPart,
    Tensors,
    _check_shape,
    fill,
    on_meta,
    same_names,
)
from lorakit.errors import SetupError  # noqa: E402
from lorakit.rehearse.standin import FAMILIES, FILES, write  # noqa: E402


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {family: make_tiny(family, root / family) for family in ("sd15", "sdxl", "flux")}


def opened(folder: Path, family: str, **options: Any) -> Any:
    return open_base(SimpleNamespace(pretrained_model_name_or_path=str(folder), **options), family)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_a_tiny_base_goes_from_caption_to_prediction(bases: dict[str, Path], family: str) -> None:
    base = opened(bases[family], family)
    assert (base.family, base.name, base.is_tiny, base.latent_step) == (family, family, True, 8)
    told = base.encode(
        base.load_encoders(torch.float32, "cpu"),
        base.tokenize(base.load_tokenizers(), ["a red fox", "snow"]),
    )
    noisy = torch.randn(2, base.vae.config["latent_channels"], 8, 8)
    sizes = torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)
    out = base.predict(
        base.load_denoiser(torch.float32, "cpu"),
        noisy,
        torch.tensor([10, 700]),
        told,
        time_ids=sizes,
    )
    assert out.shape == noisy.shape
    assert out.isfinite().all()
    assert not torch.allclose(out[0], out[1])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_the_one_anatomy_fits_the_models_tensor_by_tensor_at_full_size(
    tmp_path: Path, family: str
) -> None:
    """What stand-ins and sizes of LoRAs are made from, against the modules that are trained."""
    options = {}
    for key, name in FAMILIES[family].items():
        options[key] = str(tmp_path / f"{name}.safetensors")
        write(tmp_path / f"{name}.safetensors", FILES[name].tensors(), "BF16", hole=True)
    (tmp_path / "tokenizer.json").touch()
    base = opened(Path(options.pop("base")), family, tokenizer_cache_dir=None, **options)
    unused = {name for path in base.files for name in Tensors([path]).entries}
    for piece in (base.denoiser, base.vae, *base.text):
        module = piece.empty()
        tensors = Tensors(piece.paths)
        for name, parts in piece.layout(module, tensors).items():
            _check_shape(name, parts, module.get_parameter(name), tensors, piece.role)
            unused -= {part.name for part in parts}
    assert unused <= {"conditioner.embedders.1.model.logit_scale"}


@pytest.mark.slow
def test_the_seed_decides_every_byte_of_a_tiny_base(tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    first, again, other = (
        content(make_tiny("sd15", tmp_path / name, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again
    assert (
        first["unet/diffusion_pytorch_model.safetensors"]
        != other["unet/diffusion_pytorch_model.safetensors"]
    )


@pytest.mark.slow
def test_weights_come_in_the_type_that_is_asked_for_and_frozen(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    half = opened(make_tiny("sd15", tmp_path / "half", dtype=torch.float16), "sd15").load_denoiser(
        torch.float32, "cpu"
    )
    full = opened(bases["sd15"], "sd15").load_denoiser(torch.float32, "cpu")
    for ours, exact in zip(half.parameters(), full.parameters(), strict=True):
        assert not ours.requires_grad
        assert torch.equal(ours, exact.half().float())
    assert not half.training


def test_prediction_follows_the_option_and_the_folder_is_heard(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    assert opened(bases["sd15"], "sd15").prediction == "epsilon"
    assert opened(bases["flux"], "flux").prediction == "flow"
    folder = make_tiny("sd15", tmp_path / "v")
    schedule = folder / "scheduler" / "scheduler_config.json"
    schedule.write_text(
        json.dumps({**json.loads(schedule.read_text()), "prediction_type": "v_prediction"})
    )
    assert "v_parameterization" in opened(folder, "sd15").notes[0]
    told = opened(folder, "sd15", v_parameterization=True)
    assert (told.prediction, told.notes) == ("v_prediction", ())


@pytest.mark.slow
def test_a_vae_given_apart_is_used_in_either_style_of_names(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    own = opened(bases["sd15"], "sd15")
    other = make_tiny("sd15", tmp_path / "other", seed=9)
    base = opened(bases["sd15"], "sd15", vae=str(other / "vae"))
    assert not torch.equal(
        base.load_vae(torch.float32, "cpu").encoder.conv_in.weight,
        own.load_vae(torch.float32, "cpu").encoder.conv_in.weight,
    )
    tensors = {
        name.replace("to_q", "query")
        .replace("to_k", "key")
        .replace("to_v", "value")
        .replace("to_out.0", "proj_attn"): value
        for name, value in load_file(other / "vae" / "diffusion_pytorch_model.safetensors").items()
    }
    save_file(tensors, other / "vae" / "diffusion_pytorch_model.safetensors")
    pixels = torch.rand(1, 3, 32, 32)
    old_names = opened(other, "sd15").load_vae(torch.float32, "cpu").encode(pixels).mean
    assert torch.equal(old_names, base.load_vae(torch.float32, "cpu").encode(pixels).mean)


@pytest.mark.slow
def test_sharded_and_half_precision_folders_open(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = make_tiny("sd15", tmp_path / "shards")
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    names = sorted(tensors)
    whole.unlink()
    for part, chosen in enumerate((names[::2], names[1::2]), 1):
        save_file(
            {name: tensors[name] for name in chosen},
            folder / "unet" / f"diffusion_pytorch_model-0000{part}-of-00002.safetensors",
        )
    base = opened(folder, "sd15")
    assert len(base.denoiser.paths) == 2
    expected = opened(bases["sd15"], "sd15").load_denoiser(torch.float32, "cpu")
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            base.load_denoiser(torch.float32, "cpu").parameters(),
            expected.parameters(),
            strict=True,
        )
    )
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    vae.rename(vae.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert opened(folder, "sd15").vae.paths[0].name.endswith(".fp16.safetensors")


# -- the layouts of single files: there and back, at toy size ---------------------------------------------------------


def returned(module: Any, layout: Any, path: Path, build: Any) -> None:
    """Write the module under the layout's names, read it back through the layout: nothing may change."""
    randomise(module, torch.Generator().manual_seed(3))
    save_file(stored(module, layout, torch.float32), path)
    again = on_meta(build)
    fill(again, Tensors([path]), layout, dtype=torch.float32, device="cpu", what="network")
    for (name, value), (_, other) in zip(
        module.named_parameters(), again.named_parameters(), strict=True
    ):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_the_ldm_unet_comes_back_whole(bases: dict[str, Path], tmp_path: Path, family: str) -> None:
    config = opened(bases[family], family).denoiser.config
    returned(
        UNet(config),
        layouts.ldm_unet(UNet(config)),
        tmp_path / "unet.safetensors",
        lambda: UNet(config),
    )


def test_the_ldm_vae_and_open_clip_come_back_whole(bases: dict[str, Path], tmp_path: Path) -> None:
    vae = opened(bases["sd15"], "sd15").vae.config
    returned(VAE(vae), layouts.ldm_vae(VAE(vae)), tmp_path / "vae.safetensors", lambda: VAE(vae))
    clip = {**CLIP, "vocab_size": 50}
    returned(
        CLIPText(clip, projection=True),
        layouts.open_clip(CLIPText(clip, projection=True)),
        tmp_path / "clip.safetensors",
        lambda: CLIPText(clip, projection=True),
    )


def test_sdxl_modules_have_the_ldm_names_that_kohya_uses() -> None:
    config = json.loads((Path(layouts.__file__).parent / "configs" / "sdxl.json").read_text())[
        "unet"
    ]
    names = {
        "down_blocks.1.attentions.0.proj_in": "input_blocks.4.1.proj_in",
        "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
        "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0": "input_blocks.8.1.transformer_blocks.9.attn2.to_out.0",
        "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj": "middle_block.1.transformer_blocks.0.ff.net.0.proj",
        "up_blocks.0.attentions.2.proj_out": "output_blocks.2.1.proj_out",
        "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
        "up_blocks.2.resnets.0.conv_shortcut": "output_blocks.6.0.skip_connection",
        "mid_block.resnets.1.time_emb_proj": "middle_block.2.emb_layers.1",
    }
    assert {name: layouts.ldm_module(name, config) for name in names} == names


def flux_files(folder: Path, tmp_path: Path) -> dict[str, str]:
    """The parts of a diffusers folder as the single files that people download, whole transformer in FLUX's own names."""
    base = opened(folder, "flux")
    transformer = base.load_denoiser(torch.float32, "cpu")
    vae = base.load_vae(torch.float32, "cpu")
    save_file(
        stored(transformer, same_names(transformer), torch.bfloat16),
        tmp_path / "flux1-dev.safetensors",
    )
    save_file(stored(vae, layouts.ldm_vae(vae), torch.float32), tmp_path / "ae.safetensors")
    return {
        "clip_l": str(folder / "text_encoder"),
        "t5xxl": str(folder / "text_encoder_2"),
        "ae": str(folder / "vae"),
    }


def test_a_flux_file_tells_its_own_size(bases: dict[str, Path], tmp_path: Path) -> None:
    parts = flux_files(bases["flux"], tmp_path)
    base = opened(tmp_path / "flux1-dev.safetensors", "flux", **parts)
    assert (base.denoiser.config["num_layers"], base.denoiser.config["num_single_layers"]) == (1, 2)
    assert base.denoiser.config["guidance_embeds"]
    assert base.t5_length == 512
    expected = opened(bases["flux"], "flux").load_denoiser(torch.float32, "cpu")
    for ours, theirs in zip(
        base.load_denoiser(torch.float32, "cpu").parameters(), expected.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs.bfloat16().float())


def test_fp8_files_are_read(tmp_path: Path) -> None:
    layer = torch.nn.Linear(8, 4)
    randomise(layer, torch.Generator().manual_seed(0))
    stored8 = {
        name: value.detach().to(torch.float8_e4m3fn) for name, value in layer.named_parameters()
    }
    save_file(stored8, tmp_path / "fp8.safetensors")
    again = on_meta(lambda: torch.nn.Linear(8, 4))
    fill(
        again,
        Tensors([tmp_path / "fp8.safetensors"]),
        same_names(again),
        dtype=torch.bfloat16,
        device="cpu",
        what="layer",
    )
    assert torch.equal(again.weight, stored8["weight"].to(torch.bfloat16))


# -- refusals ---------------------------------------------------------------------------------------------------------


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(SetupError) as caught:
        opened(*args, **options)
    return str(caught.value)


def test_the_wrong_family_is_named(bases: dict[str, Path], tmp_path: Path) -> None:
    assert "an SDXL model; the recipe's family is sd15" in refusal(bases["sdxl"], "sd15")
    flux_files(bases["flux"], tmp_path)
    assert "this is flux dev; the recipe's family is sdxl" in refusal(
        tmp_path / "flux1-dev.safetensors", "sdxl"
    )


def test_a_model_of_the_family_with_other_layers_is_refused_by_its_name(tmp_path: Path) -> None:
    names = ("double_blocks.0.img_attn.qkv", "distilled_guidance_layer.in_proj")
    write(tmp_path / "chroma.safetensors", {f"{name}.weight": (1, 1) for name in names}, "BF16")
    assert "this is flux chroma" in refusal(tmp_path / "chroma.safetensors", "flux")


def test_what_is_not_there_is_named(bases: dict[str, Path], tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nothing.safetensors", "sd15")
    assert "clip_l" in refusal(
        _only_transformer(bases, tmp_path), "flux", ae=str(bases["flux"] / "vae")
    )
    (tmp_path / "model.ckpt").write_bytes(b"x")
    assert "pickle" in refusal(tmp_path / "model.ckpt", "sd15")


def _only_transformer(bases: dict[str, Path], tmp_path: Path) -> Path:
    flux_files(bases["flux"], tmp_path)
    return tmp_path / "flux1-dev.safetensors"


def test_a_file_cut_short_is_refused_before_anything_is_read(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    folder = make_tiny("sd15", tmp_path / "cut")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    base = opened(folder, "sd15")
    with pytest.raises(SetupError, match="cut short"):
        base.load_denoiser(torch.float32, "cpu")


def test_a_missing_weight_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    save_file({"weigth": torch.zeros(4, 8), "bias": torch.zeros(4)}, tmp_path / "x.safetensors")
    layer = on_meta(lambda: torch.nn.Linear(8, 4))
    with pytest.raises(
        SetupError, match=r"1 weights of the layer.*first is weight\. Did you mean weigth"
    ):
        fill(
            layer,
            Tensors([tmp_path / "x.safetensors"]),
            same_names(layer),
            dtype=torch.float32,
            device="cpu",
            what="layer",
        )
    with pytest.raises(SetupError, match=r"should be \[4, 8\]"):
        fill(
            layer,
            Tensors([tmp_path / "x.safetensors"]),
            {"weight": (TensorPart("bias"),), "bias": (TensorPart("bias"),)},
            dtype=torch.float32,
            device="cpu",
            what="layer",
        )


def test_an_architecture_that_is_not_written_here_is_refused_by_its_setting(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    folder = make_tiny("sd15", tmp_path / "odd")
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "class_embed_type": "timestep"}))
    with pytest.raises(SetupError, match="class_embed_type"):
        opened(folder, "sd15").load_denoiser(torch.float32, "cpu")


def test_t5_without_a_tokenizer_says_where_to_put_it(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorakit.catalogue.checkout.VENDOR", tmp_path / "vendor")
    base = opened(bases["flux"], "flux")
    encoder = base.load_encoders(torch.float32, "cpu")[1]
    save_file(stored(encoder, same_names(encoder), torch.float32), tmp_path / "t5xxl.safetensors")
    transformer = _only_transformer(bases, tmp_path)
    parts = {
        "clip_l": str(bases["flux"] / "text_encoder"),
        "ae": str(bases["flux"] / "vae"),
        "t5xxl": str(tmp_path / "t5xxl.safetensors"),
    }
    assert "tokenizer.json" in refusal(transformer, "flux", **parts)
    (tmp_path / "google_t5-v1_1-xxl").mkdir()
    (tmp_path / "google_t5-v1_1-xxl" / "tokenizer.json").write_bytes(
        (bases["flux"] / "tokenizer_2" / "tokenizer.json").read_bytes()
    )
    assert (
        opened(transformer, "flux", **parts, tokenizer_cache_dir=str(tmp_path)).tokenizers[1]
        == tmp_path / "google_t5-v1_1-xxl"
    )
