"""Our plain networks give the same numbers as diffusers' and transformers' on the same folders: they are the judges of what a file means."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tiny_bases import make_tiny  # noqa: E402

from lorakit.embedded.models import open_base  # noqa: E402 -- after the check that torch is there

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {family: make_tiny(family, root / family) for family in ("sd15", "sdxl", "flux")}


def opened(folder: Path, family: str, **options: Any) -> Any:
    return open_base(SimpleNamespace(pretrained_model_name_or_path=str(folder), **options), family)


def close(ours: Any, theirs: Any, tolerance: float = 2e-5) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max().item() <= tolerance * max(1.0, theirs.abs().max().item())


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize(("count", "width"), [(2, 12), (1, 8)])
def test_the_unet_and_its_gradient_are_those_of_diffusers(
    bases: dict[str, Path], family: str, count: int, width: int
) -> None:
    from diffusers import UNet2DConditionModel

    theirs = UNet2DConditionModel.from_pretrained(bases[family] / "unet").eval()
    ours = opened(bases[family], family).load_denoiser(torch.float32, "cpu")
    assert {n for n, _ in ours.named_parameters()} == {n for n, _ in theirs.named_parameters()}
    torch.manual_seed(1)
    told = torch.randn(count, 77, ours.config["cross_attention_dim"])
    pooled, ids = torch.randn(count, 32), torch.tensor([[64.0, 96, 0, 8, 64, 96]] * count)
    added = {"text_embeds": pooled, "time_ids": ids} if family == "sdxl" else None
    timesteps = torch.tensor([3, 811][:count])
    answers, gradients = [], []
    calls: tuple[Any, ...] = (
        lambda x: ours(x, timesteps, told, pooled, ids),
        lambda x: theirs(x, timesteps, told, added_cond_kwargs=added).sample,
    )
    for call in calls:
        chance = torch.Generator().manual_seed(2)
        latents = torch.randn(count, 4, 8, width, generator=chance).requires_grad_()
        out = call(latents)
        out.square().mean().backward()
        answers.append(out)
        gradients.append(latents.grad)
    close(*answers)
    close(*gradients)


def test_gradient_checkpointing_changes_no_number_but_by_rounding(bases: dict[str, Path]) -> None:
    results = []
    for checkpointing in (False, True):
        unet = opened(bases["sd15"], "sd15").load_denoiser(torch.float32, "cpu")
        if checkpointing:
            unet.enable_gradient_checkpointing()
        latents = torch.randn(
            1, 4, 8, 8, generator=torch.Generator().manual_seed(2)
        ).requires_grad_()
        unet(latents, torch.tensor([5]), torch.ones(1, 77, 32)).sum().backward()
        results.append(latents.grad)
    torch.testing.assert_close(*results)  # parts of a gradient are added in another order


@pytest.mark.parametrize(
    "size", [(9, 11), (8, 8), (2, 2)]
)  # odd; and so small that convolutions become matrix products
def test_any_size_goes_through_the_unet(bases: dict[str, Path], size: tuple[int, int]) -> None:
    from diffusers import UNet2DConditionModel

    theirs = UNet2DConditionModel.from_pretrained(bases["sd15"] / "unet").eval()
    ours = opened(bases["sd15"], "sd15").load_denoiser(torch.float32, "cpu")
    latents, told = torch.randn(1, 4, *size), torch.randn(1, 77, 32)
    close(ours(latents, torch.tensor([7]), told), theirs(latents, 7, told).sample)


@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_the_vae_encodes_and_decodes_as_diffusers_does(bases: dict[str, Path], family: str) -> None:
    from diffusers import AutoencoderKL

    theirs = AutoencoderKL.from_pretrained(bases[family] / "vae").eval()
    base = opened(bases[family], family)
    ours = base.load_vae(torch.float32, "cpu")
    pixels = torch.rand(2, 3, 64, 96) * 2 - 1
    encoded, expected = ours.encode(pixels), theirs.encode(pixels).latent_dist
    close(encoded.mean, expected.mean)
    close(encoded.std, expected.std)
    close(ours.decode(encoded.mean), theirs.decode(expected.mean).sample)
    assert (base.vae_shift, base.vae_scaling) == (
        theirs.config.shift_factor or 0.0,
        theirs.config.scaling_factor,
    )


@pytest.mark.parametrize(
    ("family", "part", "kind"),
    [
        ("sd15", "text_encoder", "CLIPTextModel"),
        ("sdxl", "text_encoder", "CLIPTextModel"),
        ("sdxl", "text_encoder_2", "CLIPTextModelWithProjection"),
    ],
)
def test_clip_says_what_transformers_clip_says(
    bases: dict[str, Path], family: str, part: str, kind: str
) -> None:
    import transformers

    theirs = getattr(transformers, kind).from_pretrained(bases[family] / part).eval()
    base = opened(bases[family], family)
    ours = base.load_encoders(torch.float32, "cpu")[part.endswith("2")]
    ids = base.tokenize(base.load_tokenizers(), ["a red fox in the snow", "it's 3 o'clock!"])[
        part.endswith("2")
    ].flatten(0, 1)
    expected, states = theirs(ids, output_hidden_states=True), ours(ids)
    close(states.last, expected.last_hidden_state)
    for mine, other in zip(states.hidden, expected.hidden_states, strict=True):
        close(mine, other)
    close(states.pooled, expected.text_embeds if part.endswith("2") else expected.pooler_output)


@pytest.mark.parametrize("masked", [False, True])
def test_t5_says_what_transformers_t5_says(bases: dict[str, Path], masked: bool) -> None:
    from transformers import T5EncoderModel

    theirs = T5EncoderModel.from_pretrained(bases["flux"] / "text_encoder_2").eval()
    base = opened(bases["flux"], "flux", t5xxl_max_token_length=300, apply_t5_attn_mask=masked)
    ours = base.load_encoders(torch.float32, "cpu")[1]
    _, ids, mask = base.tokenize(
        base.load_tokenizers(), ["a red fox in the snow", "far away " * 20]
    )
    close(
        ours(ids, mask if masked else None),
        theirs(ids, attention_mask=mask if masked else None).last_hidden_state,
    )


def test_the_flux_transformer_is_that_of_diffusers(bases: dict[str, Path]) -> None:
    from diffusers import FluxTransformer2DModel

    from lorakit.embedded.models.flux import pack, place_ids, unpack

    theirs = FluxTransformer2DModel.from_pretrained(bases["flux"] / "transformer").eval()
    base = opened(bases["flux"], "flux")
    latents, hidden, pooled = (torch.randn(2, *size) for size in ((4, 8, 12), (10, 32), (32,)))
    share = torch.tensor([0.25, 0.9])
    expected = theirs(
        hidden_states=pack(latents),
        encoder_hidden_states=hidden,
        pooled_projections=pooled,
        timestep=share,
        guidance=torch.full((2,), 3.5),
        txt_ids=torch.zeros(10, 3),
        img_ids=place_ids(8, 12, "cpu"),
    ).sample
    ours = base.load_denoiser(torch.float32, "cpu")
    close(ours(latents, share, hidden, pooled, mask=None, guidance=3.5), unpack(expected, 8, 12))


def test_flux_latents_are_packed_as_the_pipeline_packs_them() -> None:
    from diffusers import FluxPipeline

    from lorakit.embedded.models.flux import pack, place_ids, unpack

    latents = torch.randn(2, 4, 6, 10)
    assert torch.equal(pack(latents), FluxPipeline._pack_latents(latents, 2, 4, 6, 10))
    assert torch.equal(unpack(pack(latents), 6, 10), latents)
    assert torch.equal(
        place_ids(6, 10, "cpu"),
        FluxPipeline._prepare_latent_image_ids(2, 3, 5, "cpu", torch.float32),
    )


TEXTS = [
    "a red fox, in the snow",
    "It's 1girl's   über-cool café, 2024!!! :) <3",
    "",
    "日本語 mixed_with-snake_case\n(brackets:1.2)",
    "x" * 400,
]


def test_clip_tokens_are_those_of_transformers(bases: dict[str, Path], tmp_path: Path) -> None:
    import json

    from transformers import CLIPTokenizer

    from lorakit import data
    from lorakit.embedded.models.prompts import ClipTokenizer

    (tmp_path / "vocab.json").write_text(json.dumps(data.clip_vocabulary()), encoding="utf-8")
    (tmp_path / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(map(" ".join, data.clip_merges())), encoding="utf-8"
    )
    for folder, ours in (
        (tmp_path, ClipTokenizer(None)),
        (tmp_path, ClipTokenizer(tmp_path)),
        (bases["sd15"] / "tokenizer", ClipTokenizer(bases["sd15"] / "tokenizer")),
    ):
        theirs = CLIPTokenizer.from_pretrained(folder)
        expected = theirs(TEXTS, padding="max_length", max_length=77, truncation=True).input_ids
        (tokens,) = ours.batch(TEXTS)
        assert tokens[:, 0].tolist() == expected


def test_long_captions_give_three_chunks_as_kohya_cuts_them() -> None:
    from lorakit.embedded.models.prompts import ClipTokenizer

    words = "fox " * 100
    first, second = ClipTokenizer(None, 225), ClipTokenizer(None, 225, pad=0)
    fox = first.numbers("fox")[0]
    start, end = first.bos, first.eos
    assert first.batch([words])[0].tolist() == [
        [[start, *[fox] * 75, end], [start, *[fox] * 25, *[end] * 51], [start, *[end] * 76]]
    ]
    assert second.batch([words])[0].tolist() == [
        [[start, *[fox] * 75, end], [start, *[fox] * 25, end, *[0] * 50], [start, end, *[0] * 75]]
    ]


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_the_pipelines_of_diffusers_open_a_tiny_base(bases: dict[str, Path], family: str) -> None:
    import diffusers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = diffusers.DiffusionPipeline.from_pretrained(bases[family])
        picture = pipeline(
            "a red fox", height=64, width=64, num_inference_steps=2, output_type="np"
        ).images
    assert picture.shape == (1, 64, 64, 3)


# -- the names in single files, against the converters of diffusers, at full size without memory -----------------------


def shipped(family: str) -> dict[str, Any]:
    import json

    from lorakit.embedded.models import opening

    text = (Path(opening.__file__).parent / "configs" / f"{family}.json").read_text(
        encoding="utf-8"
    )
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def on_meta(kind: Any, *arguments: Any, **options: Any) -> Any:
    with torch.device("meta"):
        return kind(*arguments, **options)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_the_ldm_names_of_the_full_unet_are_those_that_diffusers_converts(family: str) -> None:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    from lorakit.embedded.models.layouts import ldm_unet
    from lorakit.embedded.models.unet import UNet

    config = shipped(family)["unet"]
    ours = on_meta(UNet, config)
    theirs = on_meta(UNet2DConditionModel, **config)
    shapes = {name: tuple(value.shape) for name, value in ours.named_parameters()}
    assert shapes == {name: tuple(value.shape) for name, value in theirs.named_parameters()}
    prefix = "model.diffusion_model."
    file = {prefix + parts[0].name: name for name, parts in ldm_unet(ours).items()}
    extra = {"class_embed_type": None, **config}
    if family == "sdxl":
        extra["addition_embed_type"] = "text_time"
    assert convert_ldm_unet_checkpoint(file, extra) == {name: name for name in shapes}


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_the_ldm_names_of_the_full_vae_are_those_that_diffusers_converts(family: str) -> None:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    from lorakit.embedded.models.layouts import ldm_vae
    from lorakit.embedded.models.vae import VAE

    config = shipped(family)["vae"]
    kinds = {
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    }
    ours, theirs = on_meta(VAE, config), on_meta(AutoencoderKL, **config, **kinds)
    shapes = {name: tuple(value.shape) for name, value in ours.named_parameters()}
    assert shapes == {name: tuple(value.shape) for name, value in theirs.named_parameters()}
    prefix = "" if family == "flux" else "first_stage_model."
    theirs_of = {name: prefix + parts[0].name for name, parts in ldm_vae(ours).items()}
    file = {name: torch.zeros(1, 1, 1) for name in theirs_of.values()}
    places = {id(value): name for name, value in file.items()}
    for name, value in convert_ldm_vae_checkpoint(file, {**config, **kinds}).items():
        if (
            id(value) in places
        ):  # the attention's matrices are reshaped on the way; the rest is the same object
            assert theirs_of[name] == places[id(value)]


def test_the_names_of_open_clip_are_those_that_diffusers_converts() -> None:
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
    from tiny_bases import CLIP, randomise, stored
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    from lorakit.embedded.models.clip import CLIPText
    from lorakit.embedded.models.layouts import open_clip

    config = {**CLIP, "vocab_size": 60, "hidden_act": "gelu", "eos_token_id": 59}
    ours = CLIPText(config, projection=True)
    randomise(ours, torch.Generator().manual_seed(0))
    prefix = "conditioner.embedders.1.model."
    theirs = CLIPTextModelWithProjection(CLIPTextConfig(**config)).eval()
    file = stored(ours, open_clip(ours), torch.float32)
    file = {prefix + name: value for name, value in file.items()}
    converted = convert_open_clip_checkpoint(theirs, file, prefix=prefix)
    expected = dict(theirs.named_parameters())
    for name, value in ours.named_parameters():
        short = name if name in expected else name.removeprefix("text_model.")
        assert torch.equal(converted.get(short, converted.get(f"text_model.{short}")), value), name


def test_the_own_names_of_flux_are_those_that_diffusers_converts() -> None:
    from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
    from tiny_bases import stored

    from lorakit.embedded.models.flux import Flux
    from lorakit.embedded.models.layouts import folder_flux
    from lorakit.embedded.models.weights import on_meta

    config = {
        "in_channels": 64,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 32,
        "guidance_embeds": True,
    }  # diffusers' converter knows one width only
    ours = on_meta(lambda: Flux(config))
    for number, (name, weight) in enumerate([*ours.named_parameters()]):
        # A number a row, no row like another: a billion of drawn ones would take as many gigabytes.
        rows = torch.arange(len(weight), dtype=torch.float32) + 100_000 * number
        value = rows.view(-1, *[1] * (weight.ndim - 1)).expand(weight.shape)
        owner, _, leaf = name.rpartition(".")
        own = torch.nn.Parameter(value, requires_grad=False)
        setattr(ours.get_submodule(owner), leaf, own)
    folder = stored(ours, folder_flux(ours), torch.float32)
    converted = convert_flux_transformer_checkpoint_to_diffusers(dict(ours.state_dict()))
    assert set(converted) == set(folder)
    for name, value in folder.items():
        assert torch.equal(converted[name], value), name
