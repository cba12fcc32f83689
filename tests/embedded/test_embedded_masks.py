"""Masked loss: which pixels count, by an image's opacity or by a folder of masks."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from PIL import Image as Pillow  # noqa: E402

from lorakit.dataset.buckets import Placement  # noqa: E402
from lorakit.embedded.data.batches import Pick  # noqa: E402
from lorakit.embedded.data.dataset import Image  # noqa: E402
from lorakit.embedded.data.dataset_config import Subset  # noqa: E402
from lorakit.embedded.data.images import Masks, mask, pixels  # noqa: E402

Train = Any
Tiny = Any


def noisy(width: int, height: int) -> bytes:
    """Whose red is its opacity, a different one everywhere."""
    grey = Pillow.effect_noise((width, height), 90)
    buffer = io.BytesIO()
    Pillow.merge("RGBA", (grey, grey, grey, grey)).save(buffer, format="PNG")
    return buffer.getvalue()


def image(path: Path, **subset: Any) -> Image:
    at = Placement((64, 48), (75, 50), 0.0)
    return Image(path, Subset(path.parent, **subset), "", (90, 60), at, 1)


@pytest.mark.slow
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("crop", [False, True])
def test_a_mask_is_scaled_cut_and_turned_as_its_picture_is(*, flip: bool, crop: bool) -> None:
    data, one = noisy(90, 60), image(Path("a.png"), alpha_mask=True, random_crop=crop)
    red = pixels(one, data, flip=flip, chance=random.Random(3))[0]
    for masked in (one, replace(one, mask=Path("m.png"))):
        counts = mask(masked, data, flip=flip, chance=random.Random(3))
        torch.testing.assert_close(counts, (red + 1) / 2, rtol=0, atol=1e-6)


def test_a_place_of_a_latent_counts_as_the_mean_of_what_it_covers(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(noisy(90, 60))
    one = image(tmp_path / "a.png", alpha_mask=True, flip_aug=True)
    plain, masks = image(tmp_path / "b.png"), Masks()
    draws = [Pick(one, 0, 0, repeat, 1) for repeat in range(8)]
    assert {draw.flipped(1) for draw in draws} == {False, True}
    made = masks.of((*draws, Pick(plain, 0, 1, 0, 1)), 1, torch.Size((6, 8)))
    assert made is not None
    assert made.shape == (9, 1, 6, 8)
    assert bool((made[-1] == 1).all())
    for draw, found in zip(draws, made, strict=False):
        whole = mask(one, (tmp_path / "a.png").read_bytes(), flip=draw.flipped(1))
        expected = whole.view(6, 8, 8, 8).mean(dim=(1, 3))
        torch.testing.assert_close(found[0], expected)
    assert masks.of([Pick(plain, 0, 1, 0, 1)], 1, torch.Size((6, 8))) is None


def opened(path: Path) -> Pillow.Image:
    with Pillow.open(path) as picture:
        copied: Pillow.Image = picture.copy()
        return copied


def painted(folder: Path, grey: int, *, alpha: bool = False) -> Path:
    """A mask, or an opacity, of one grey for each of the pictures that `train` draws."""
    folder.mkdir(exist_ok=True)
    for path in (folder.parent / "data" / "2_zwx").glob("*.png"):
        picture = opened(path)
        layer = Pillow.new("L", picture.size, grey)
        if alpha:
            picture.putalpha(layer)
        (picture if alpha else layer).save((path.parent if alpha else folder) / path.name)
    return folder


def told(root: Path, masks: Path | None = None) -> Path:
    text = f'[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = "{root}/data/2_zwx"\n'
    text += 'num_repeats = 2\ncaption_extension = ".txt"\n'
    text += f'conditioning_data_dir = "{masks}"\n' if masks else ""
    (root / "dataset.toml").write_text(text)
    return root / "dataset.toml"


@pytest.mark.slow
def test_a_white_mask_changes_nothing_and_a_grey_one_scales_the_loss(
    train: Train, tmp_path: Path
) -> None:
    plain = train(dataset_config=told(tmp_path), max_train_steps=2, max_train_epochs=None)
    white = train(
        dataset_config=told(tmp_path, painted(tmp_path / "white", 255)),
        masked_loss=True,
        max_train_steps=2,
        max_train_epochs=None,
    )
    assert white.digest() == plain.digest()
    grey = train(
        dataset_config=told(tmp_path, painted(tmp_path / "grey", 51)),
        masked_loss=True,
        max_train_steps=2,
        max_train_epochs=None,
    )
    losses = [
        (a["loss"], b["loss"]) for a, b in zip(grey.of("step"), plain.of("step"), strict=True)
    ]
    assert losses[0][0] == pytest.approx(losses[0][1] / 5, rel=1e-5)
    painted(tmp_path / "unused", 51, alpha=True)
    clear = train(
        alpha_mask=True, dataset_config=told(tmp_path), max_train_steps=2, max_train_epochs=None
    )
    assert clear.of("step")[0]["loss"] == pytest.approx(losses[0][0], rel=0.3)
    assert clear.code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"masked_loss": True}, "masked_loss: no images have masks"),
        ({"masks": "none"}, "conditioning_data_dir: needs masked_loss"),
        ({"masks": "none", "masked_loss": True}, "0.png: has no mask in"),
        ({"masks": "small", "masked_loss": True}, "this mask is 8x8, its picture 64x64"),
    ],
)
def test_masks_that_cannot_count_are_refused(
    train: Train, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    kind = options.pop("masks", "")
    folder = tmp_path / kind if kind else None
    if kind == "small":
        for path in painted(tmp_path / kind, 9).glob("*.png"):
            opened(path).resize((8, 8)).save(path)
    found = train(dataset_config=told(tmp_path, folder), max_train_steps=1, **options)
    assert found.code == 1
    assert said in found.said
