"""Formula by formula against sd-scripts' own functions: the same seeds, the same answers. Whole runs are compared by tools/parity.py."""

from __future__ import annotations

import argparse
import json
import random
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kohya_cases as cases  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from lorakit.embedded.data import dataset, images  # noqa: E402
from lorakit.embedded.data.batches import process  # noqa: E402
from lorakit.embedded.data.dataset import Image  # noqa: E402
from lorakit.embedded.data.dataset_config import Subset  # noqa: E402
from lorakit.embedded.network.lora import Dropout, Network, Shape  # noqa: E402
from lorakit.embedded.training import noise  # noqa: E402
from lorakit.embedded.training.objective import Objective  # noqa: E402
from lorakit.embedded.training.task import Task  # noqa: E402
from lorakit.embedded.training.world import World  # noqa: E402
from lorakit.proc import ask  # noqa: E402
from lorakit.trainers.embedded.schedulers import schedule  # noqa: E402
from lorakit.trainers.kohya.locate import require  # noqa: E402

pytestmark = [pytest.mark.real, pytest.mark.slow]
Told = SimpleNamespace  # tensors, words
MORE = ("is_reg", "flip_aug", "color_aug", "random_crop", "resize_interpolation", "class_tokens")


@cache
def _asked(python: str, checkout: Path, out: Path) -> Told:
    """One child of sd-scripts' own Python answers for all tests."""
    answer = ask(
        [python, "-B", str(Path(__file__).with_name("kohya_peer.py")), str(checkout), str(out)],
        timeout_s=600,
    )
    assert answer.code == 0, answer.err[-3000:]
    with safe_open(out, "pt") as file:
        return SimpleNamespace(tensors=load_file(out), words=json.loads(file.metadata()["words"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peer")


@pytest.fixture
def told(sd_scripts: Path, folder: Path) -> Told:
    return _asked(str(require().python), sd_scripts, folder / "answers.safetensors")


def test_captions_are_kohyas_word_for_word(told: Told) -> None:
    for number, more in enumerate(cases.CAPTION_RULES):
        said = {**cases.CAPTION, **more}
        rules = Subset(Path(), **said)
        for place, text in enumerate(cases.CAPTIONS):
            for seed in cases.SEEDS:
                answer = process(
                    text,
                    rules,
                    random.Random(seed),
                    epoch=cases.PLACE["current_epoch"],
                    step=cases.PLACE["current_step"],
                    total_steps=cases.PLACE["max_train_steps"],
                )
                assert answer == told.words[f"caption.{number}.{place}.{seed}"], (more, text, seed)


class Pretend:
    """A base whose network always gives the same answer, and notes what it was shown."""

    def __init__(self, family: str, answer: Any) -> None:
        self.family, self.prediction, self.answer = (
            family,
            "flow" if family == "flux" else "epsilon",
            answer,
        )

    def predict(self, _denoiser: object, noisy: Any, t: Any, _told: object, **_more: Any) -> Any:
        self.noisy, self.t = noisy, t
        return self.answer


def shown(family: str, more: dict[str, Any], shape: tuple[int, ...]) -> tuple[Pretend, Any]:
    """Our own objective on the peer's inputs: what went into the network, and the losses of the samples."""
    torch.manual_seed(5)
    latents, answer = torch.randn(shape) + 0.3, torch.randn(shape)
    base: Any = Pretend(family, answer)
    nobody: Any = None
    args = argparse.Namespace(**{**cases.LOSS, **more}, guidance_scale=1.0)
    world = World(torch.device("cpu"), 0, 1, "no", first_here=True)
    task = Task(args, world, base, (), seed=0, batches=1, epochs=1, prompts=())
    objective = Objective(task, nobody, nobody, nobody)
    words: Any = None
    objective.predict = lambda noisy, t, told, **_more: base.predict(None, noisy, t, told)  # type: ignore[assignment]
    torch.manual_seed(2)
    return base, objective._losses(objective._drawn(latents, 1, None), words)


@pytest.mark.parametrize(
    "number", range(len(cases.DIFFUSION)), ids=lambda number: str(cases.DIFFUSION[number])
)
def test_noise_timesteps_targets_and_losses_are_kohyas(
    told: Told, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(noise, "seed_of", lambda *_parts: 1)
    base, losses = shown("sd15", cases.DIFFUSION[number], cases.DIFFUSION_SHAPE)
    near(base.t.float(), told.tensors[f"diffusion.{number}.t"])
    near(base.noisy, told.tensors[f"diffusion.{number}.noisy"])
    near(losses, told.tensors[f"diffusion.{number}.loss"])


@pytest.mark.parametrize(
    "number", range(len(cases.FLOW)), ids=lambda number: str(cases.FLOW[number])
)
def test_flow_matching_is_kohyas(told: Told, number: int) -> None:
    base, losses = shown("flux", cases.FLOW[number], cases.FLOW_SHAPE)
    near(base.t, told.tensors[f"flow.{number}.t"])
    near(base.noisy, told.tensors[f"flow.{number}.noisy"])
    near(losses, told.tensors[f"flow.{number}.loss"])


def near(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)


def test_learning_rates_are_kohyas_at_every_step_with_one_and_with_several_processes(
    told: Told,
) -> None:
    for number, case in enumerate(cases.RATES):
        for count in cases.PROCESSES:
            factor = schedule(argparse.Namespace(**case), case["max_train_steps"] * count)
            ours = [
                case["learning_rate"] * factor(step * count)
                for step in range(case["max_train_steps"])
            ]
            assert ours == pytest.approx(
                told.words[f"rate.{number}.{count}"], rel=1e-9, abs=1e-15
            ), (case["lr_scheduler"], count)


def test_the_sizes_that_sdxl_is_told_are_kohyas(told: Told) -> None:
    for number, (size, bucket) in enumerate(cases.SIZES):
        image: Any = SimpleNamespace(size=size, bucket=bucket)
        expected = [
            [size[1], size[0], *corner, bucket[1], bucket[0]]
            for corner in told.words[f"size.{number}"]
        ]
        assert [images.size_ids(image, flip=flip) for flip in (False, True)] == expected


def test_the_same_images_are_held_out(
    told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number, (count, share, seed) in enumerate(cases.SPLITS):
        all_images = [
            Image(Path(f"{index:03d}"), None, "", (64, 64), None, 1)  # type: ignore[arg-type]
            for index in range(count)
        ]
        monkeypatch.setattr(dataset, "_images", lambda *_args, made=all_images: list(made))
        monkeypatch.setattr(dataset, "_steady", lambda _subset: None)
        subset = {
            **dict.fromkeys((*cases.CAPTION, *MORE)),
            "image_dir": str(tmp_path),
            "num_repeats": 1,
            "caption_extension": ".txt",
        }
        blueprint = {
            "resolution": (64, 64),
            "enable_bucket": False,
            "min_bucket_reso": 64,
            "max_bucket_reso": 64,
            "bucket_reso_steps": 64,
            "bucket_no_upscale": False,
            "validation_split": share,
            "validation_seed": seed,
            "batch_size": 1,
            "subsets": [subset],
        }
        made = dataset._read(blueprint, 0, [])
        assert [image.path.name for image in made.images] == told.words[f"split.{number}"]
        assert len(made.images) + len(made.validation) == count


def test_norms_are_limited_as_kohya_limits_them(told: Told) -> None:
    for number, limit in enumerate(cases.NORMS):
        torch.manual_seed(3)
        state = {
            "a.lora_down.weight": torch.randn(4, 6),
            "a.lora_up.weight": torch.randn(8, 4),
            "c.lora_down.weight": torch.randn(2, 3, 3, 3),
            "c.lora_up.weight": torch.randn(4, 2, 1, 1),
        }
        shapes = [
            Shape("a", torch.nn.Linear(6, 8), 4, 2.0, "unet"),
            Shape("c", torch.nn.Conv2d(3, 4, 3), 2, 2.0, "unet"),
        ]
        network = Network(shapes, Dropout(), seed=0, device="cpu", dtype=torch.float32)
        network.load(state)
        assert list(network.limit_norms(limit)) == pytest.approx(
            told.words[f"norms.{number}"], rel=1e-5
        )
        for name, tensor in network.state_dict().items():
            near(tensor, told.tensors[f"norms.{number}.{name}"])
