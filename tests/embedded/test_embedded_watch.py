"""Caches keyed by content, validation, the average of the weights, early stopping, samples."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from test_samplers import BETAS, THEIRS  # noqa: E402
from tiny_bases import prompts_toml  # noqa: E402

from lorakit.config import cache_dir  # noqa: E402
from lorakit.embedded.data.cache import Latents  # noqa: E402
from lorakit.embedded.drawing.generate import Studio  # noqa: E402
from lorakit.embedded.models import open_base  # noqa: E402
from lorakit.embedded.models.vae import Gaussian  # noqa: E402
from lorakit.embedded.training.objective import held_out_timesteps  # noqa: E402
from lorakit.embedded.training.report import rate_tags  # noqa: E402
from lorakit.embedded.training.state import Watch  # noqa: E402
from lorakit.embedded.training.world import World  # noqa: E402
from lorakit.errors import TrainingFailed  # noqa: E402

ONE = {"max_train_steps": 1, "max_train_epochs": None}


def cached_files(kind: str) -> set[Path]:
    return set((cache_dir() / "embedded" / kind).rglob("*.safetensors"))


@pytest.mark.slow
def test_a_cache_on_disk_gives_the_same_bytes_and_an_edited_picture_gets_new_latents(
    train: Callable[..., Any], plain: Callable[..., Any], tmp_path: Path
) -> None:
    options = {"cache_latents_to_disk": True, "cache_text_encoder_outputs_to_disk": True}
    in_memory = plain()
    first = train(**options)
    written = cached_files("latents")
    assert len(written) == 4
    assert len(cached_files("text")) == 4
    again = train(**options)
    assert cached_files("latents") == written
    assert in_memory.digest() == first.digest() == again.digest()

    picture = tmp_path / "data" / "2_zwx" / "0.png"
    before = picture.stat()
    Image.new("RGB", (64, 64), "white").save(picture)
    os.utime(
        picture, ns=(before.st_atime_ns, before.st_mtime_ns)
    )  # same name, same size, same date
    edited = train(**options)
    assert edited.digest() != first.digest()
    assert len(cached_files("latents") - written) == 1


@pytest.mark.slow
def test_an_edited_caption_another_size_and_another_vae_are_never_answered_with_old_numbers(
    train: Callable[..., Any], tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    options = {"cache_latents_to_disk": True, "cache_text_encoder_outputs_to_disk": True, **ONE}
    train(**options)
    latents, texts = cached_files("latents"), cached_files("text")
    (tmp_path / "data" / "2_zwx" / "0.txt").write_text("zwx, something else", encoding="utf-8")
    train(**options)
    assert len(cached_files("text") - texts) == 1
    train(**options, resolution="128")
    assert len(cached_files("latents") - latents) == 4
    other = _other_vae(tiny("sd15"), tmp_path)
    train(**options, vae=other)
    assert len(cached_files("latents") - latents) == 8


def _other_vae(base: Path, folder: Path) -> Path:
    from safetensors.torch import load_file, save_file

    other = folder / "vae"
    other.mkdir()
    (other / "config.json").write_bytes((base / "vae" / "config.json").read_bytes())
    weights = next((base / "vae").glob("*.safetensors"))
    save_file(
        {name: tensor * 1.01 for name, tensor in load_file(weights).items()}, other / weights.name
    )
    return other


def test_latents_are_shifted_and_scaled_as_the_family_wants_and_must_be_finite(
    tiny: Callable[[str], Path],
) -> None:
    base = open_base(argparse.Namespace(pretrained_model_name_or_path=str(tiny("flux"))), "flux")
    latents = Latents(
        base,
        World(torch.device("cpu"), 0, 1, "no", first_here=True),
        argparse.Namespace(
            no_half_vae=False, cache_latents=False, cache_latents_to_disk=False, vae_batch_size=1
        ),
    )
    image: Any = SimpleNamespace(path=Path("one.png"))
    for mean in (1.0, float("nan")):
        latents.vae = SimpleNamespace(
            encode=lambda _pixels, mean=mean: Gaussian(
                torch.full((1, 2, 2, 2), mean), torch.full((1, 2, 2, 2), 0.5)
            )
        )
        if mean == 1.0:
            noise = torch.randn(2, 2, 2, generator=torch.Generator().manual_seed(3))
            torch.testing.assert_close(
                latents._sampled(torch.zeros(1), [3], [image])[0],
                (1.0 + 0.5 * noise - 0.1159) * 0.3611,
            )
        else:
            with pytest.raises(
                TrainingFailed, match="one.png: the VAE gives numbers that are not finite"
            ):
                latents._sampled(torch.zeros(1), [3], [image])


@pytest.mark.slow
def test_cached_latents_are_flipped_too(
    train: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    assert train(flip_aug=True).digest() != plain().digest()


@pytest.mark.slow
def test_a_prefix_reaches_the_encoder_although_its_outputs_are_cached(
    train: Callable[..., Any],
) -> None:
    plain = train(**ONE, cache_text_encoder_outputs=True)
    prefixed = train(**ONE, cache_text_encoder_outputs=True, caption_prefix="a green fox")
    uncached = train(**ONE, caption_prefix="a green fox")
    assert prefixed.digest() == uncached.digest() != plain.digest()


@pytest.mark.slow
def test_wildcards_and_dropped_captions_are_known_before_the_encoders_go(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    for file in (tmp_path / "data" / "2_zwx").glob("*.txt"):
        file.write_text("zwx, {a|b|c|d} wall", encoding="utf-8")
    outcome = train(
        cache_text_encoder_outputs=True,
        enable_wildcard=True,
        caption_dropout_rate=0.3,
        max_train_epochs=3,
    )
    assert outcome.code == 0


@pytest.mark.slow
def test_uncached_latents_are_drawn_anew_and_read_ahead_alike(
    train: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    options = {"cache_latents": False, "flip_aug": True, "random_crop": True, "color_aug": True}
    alone, ahead = train(**options), train(**options, max_data_loader_n_workers=2)
    assert alone.digest() == ahead.digest() != plain().digest()


@pytest.mark.slow
def test_the_validation_loss_is_reported_and_only_held_out_images_count(
    train: Callable[..., Any],
) -> None:
    outcome = train(
        validation_split=0.25, validation_seed=3, max_train_epochs=2, validate_every_n_steps=3
    )
    assert "  num train images * repeats: 6" in outcome.said
    assert "  num validation images * repeats: 1" in outcome.said
    assert [event["step"] for event in outcome.of("validation")] == [
        3,
        6,
        9,
        12,
    ]  # an epoch ends with step 6: measured once
    assert outcome.metadata()["ss_num_validation_images"] == "1"


@pytest.mark.slow
def test_validation_sees_its_images_as_they_are_whatever_chance_does_to_the_others(
    train: Callable[..., Any],
) -> None:
    options = {**ONE, "validation_split": 0.5, "validation_seed": 3, "learning_rate": 1e-12}
    plain, varied = train(**options), train(**options, caption_dropout_rate=0.99, flip_aug=True)
    assert varied.of("validation")[0]["loss"] == pytest.approx(
        plain.of("validation")[0]["loss"], rel=1e-6
    )
    assert (
        train(**options, max_validation_steps=1).of("validation")[0]["loss"]
        != plain.of("validation")[0]["loss"]
    )


def test_validation_places_are_kohyas() -> None:
    assert held_out_timesteps(0, 1000) == [200, 400, 600, 800]
    assert held_out_timesteps(500, 600) == [520, 540, 560, 580]


@pytest.mark.slow
def test_early_stopping_keeps_the_best_and_says_why(train: Callable[..., Any]) -> None:
    outcome = train(
        validation_split=0.5,
        validation_seed=3,
        max_train_epochs=30,
        early_stop_patience=2,
        early_stop_min_delta=0.5,
        save_best=True,
    )
    assert outcome.code == 0
    assert outcome.events[-1]["reason"] == "early_stop"
    losses = [event["loss"] for event in outcome.of("validation")]
    assert len(losses) < 30
    assert next(event["loss"] for event in outcome.of("best")) == losses[0]
    assert "no gain in 2 validations; the best was" in outcome.said
    assert "fox-best.safetensors" in outcome.files
    assert "fox.safetensors" in outcome.files


def test_the_watch_counts_validations_without_gain() -> None:
    watch = Watch(patience=2, min_delta=0.1)
    seen = []
    for step, loss in enumerate((1.0, 0.95, 0.8, 0.75, 0.79), 1):
        watch = watch.after(loss, step)
        seen.append((watch.improved, watch.should_stop))
    assert seen == [(True, False), (False, False), (True, False), (False, False), (False, True)]
    assert (watch.best, watch.best_step) == (0.8, 3)
    assert not Watch(patience=None).after(1.0, 1).after(2.0, 2).should_stop


@pytest.mark.slow
def test_the_average_is_saved_and_the_training_weights_go_on(train: Callable[..., Any]) -> None:
    plain = train(save_state_on_train_end=True)
    averaged = train(save_state_on_train_end=True, ema_decay=0.9, save_every_n_steps=4)
    from safetensors.torch import load_file

    assert averaged.digest("-step00000004") != averaged.digest()  # it moves on
    raw, mean = load_file(averaged.folder / "fox-state" / "model.safetensors"), averaged.tensors()
    key = next(key for key in raw if key.endswith("lora_up.weight"))
    torch.testing.assert_close(
        raw[key], load_file(plain.folder / "fox-state" / "model.safetensors")[key], rtol=0, atol=0
    )
    assert float(mean[key].norm()) < float(raw[key].norm())
    assert averaged.metadata()["ss_ema_decay"] == "0.9"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", pytest.param("sdxl", marks=pytest.mark.slow), "flux"])
def test_samples_have_kohyas_names_and_show_what_was_learned(
    train: Callable[..., Any], tmp_path: Path, family: str
) -> None:
    prompts = prompts_toml(tmp_path / "prompts.toml", "zwx --w 64 --h 70 --s 2 --d 5 --l 2")
    outcome = train(
        family,
        sample_prompts=prompts,
        sample_at_first=True,
        sample_every_n_epochs=1,
        learning_rate=0.1,
        sample_sampler=None if family == "flux" else "euler_a",
    )
    names = sorted(path.name for path in (outcome.folder / "sample").iterdir())
    assert [name[:18] for name in names] == ["fox_e000000_00_202", "fox_e000001_00_202"]
    assert all(name.endswith("_5.png") for name in names)
    first, last = (Image.open(outcome.folder / "sample" / name) for name in names)
    assert first.size == (64, 64)
    assert first.tobytes() != last.tobytes()
    assert [(event["step"], event["prompt"]) for event in outcome.of("sample")] == [
        (0, "zwx"),
        (8, "zwx"),
    ]


SIZE = {"width": 64, "height": 64, "seed": 5}


def sampled(
    train: Callable[..., Any], tmp_path: Path, family: str, line: str, **options: Any
) -> Any:
    """What the untrained network, which is the base, draws."""
    prompts = prompts_toml(tmp_path / "one.toml", f"zwx, a wall --w 64 --h 64 --d 5 {line}")
    outcome = train(family, **ONE, sample_prompts=prompts, sample_at_first=True, **options)
    with Image.open(next((outcome.folder / "sample").iterdir())) as picture:
        return np.asarray(picture).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "line", "sampler"),
    [
        ("sd15", "--l 2.5 --n sea", None),
        pytest.param("sd15", "--l 2.5 --n sea", "k_euler_a", marks=pytest.mark.slow),
        pytest.param("sdxl", "--l 2.5 --n sea", "dpmsolver++", marks=pytest.mark.slow),
        pytest.param("flux", "--g 2.5", None, marks=pytest.mark.slow),
    ],
)
def test_a_sample_is_the_picture_that_a_sheet_shows_of_the_base(
    train: Callable[..., Any],
    tiny: Callable[[str], Path],
    tmp_path: Path,
    family: str,
    line: str,
    sampler: str | None,
) -> None:
    base = open_base(argparse.Namespace(pretrained_model_name_or_path=str(tiny(family))), family)
    studio = Studio(base, "cpu", torch.float32, sampler)
    job = {"prompt": "zwx, a wall", "negative": "sea", **SIZE, "steps": 3, "scale": 2.5}
    shown = np.asarray(studio.draw([job])[0]).astype(int)
    drawn = sampled(train, tmp_path, family, f"--s 3 {line}", sample_sampler=sampler)
    assert np.abs(drawn - shown).max() <= 1
    other = sampled(train, tmp_path, family, "--s 3 --g 2.5 --l 3 --n land", sample_sampler=sampler)
    assert np.abs(other - shown).max() > 1


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:__array__:DeprecationWarning"
)  # diffusers and numpy 2 about copies
@pytest.mark.parametrize("sampler", ["ddim", "euler"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_sample_is_the_picture_that_diffusers_pipeline_draws(
    train: Callable[..., Any], tiny: Callable[[str], Path], tmp_path: Path, sampler: str, kind: str
) -> None:
    diffusers = pytest.importorskip("diffusers", reason="compares with diffusers")
    scheduler, settings = THEIRS[sampler]
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tiny("sd15"))
    pipeline.scheduler = getattr(diffusers, scheduler)(**BETAS, **settings, prediction_type=kind)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    theirs = pipeline(
        "zwx, a wall",
        negative_prompt="sea",
        width=64,
        height=64,
        num_inference_steps=4,
        guidance_scale=3.0,
        latents=noise,
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    ours = sampled(
        train,
        tmp_path,
        "sd15",
        f"--s 4 --l 3 --n sea --ss {sampler}",
        v_parameterization=kind == "v_prediction",
    )
    assert np.abs(ours - np.asarray(theirs).astype(int)).max() <= 1


def test_a_rate_is_logged_under_the_name_of_what_learns_with_it() -> None:
    assert rate_tags({"textencoder": 1.0, "unet": 2.0}, {}) == {
        "lr/textencoder": 1.0,
        "lr/unet": 2.0,
        "lr/group1": 2.0,
    }
    flux = {"lr/textencoder 1 ": 1.0, "lr/textencoder": 1.0, "lr/unet": 2.0, "lr/group1": 2.0}
    assert rate_tags({"textencoder 1 ": 1.0, "unet": 2.0}, {}) == flux
    assert rate_tags({"unet": 2.0}, {"unet": 3.0}) == {
        "lr/unet": 2.0,
        "lr/d*lr/unet": 3.0,
        "lr/group0": 2.0,
    }


@pytest.mark.slow
def test_a_step_of_several_batches_is_one_point_and_its_loss_their_mean(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    alone, joined = (
        train(
            gradient_accumulation_steps=count,
            learning_rate=1e-12,
            logging_dir=tmp_path / f"logs{count}",
        )
        for count in (1, 3)
    )
    single = [event["loss"] for event in alone.of("step")]
    means = [sum(part) / len(part) for part in (single[0:3], single[3:6], single[6:8])]
    assert [event["loss"] for event in joined.of("step")] == pytest.approx(means, rel=1e-5)
    board = EventAccumulator(str(next((tmp_path / "logs3").iterdir()) / "network_train"))
    board.Reload()
    assert [event.step for event in board.Scalars("loss/current")] == [1, 2, 3]
    assert [event.value for event in board.Scalars("loss/current")] == pytest.approx(
        means, rel=1e-5
    )


@pytest.mark.slow
def test_tensorboard_holds_kohyas_tags(train: Callable[..., Any], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(
        logging_dir=tmp_path / "logs",
        log_prefix="fox_",
        network_train_unet_only=False,
        text_encoder_lr=[1e-4],
        validation_split=0.25,
    )
    folder = next((tmp_path / "logs").glob("fox_*"))
    board = EventAccumulator(str(folder / "network_train"))
    board.Reload()
    tags = set(board.Tags()["scalars"])
    assert {
        "loss/current",
        "loss/average",
        "loss/epoch_average",
        "lr/unet",
        "lr/textencoder",
        "lr/group1",
        "loss/validation/epoch_average",
        "loss/validation/epoch_divergence",
    } <= tags
    assert [event.step for event in board.Scalars("loss/current")] == [1, 2, 3, 4, 5, 6]
    assert board.Scalars("lr/textencoder")[0].value == pytest.approx(1e-4)
