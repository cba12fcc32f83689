"""From an image file to pixels in its bucket: kohya's scaling, cropping, flipping and colour
jitter, by Pillow; and how much each place of a latent counts in the loss (`masked_loss`).
"""

import io
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional as F

from lorakit.embedded.data.batches import Pick
from lorakit.embedded.data.dataset import Image
from lorakit.errors import RecipeError
from lorakit.pictures.open import kinds

PILLOWS = {"linear": "bilinear", "cubic": "bicubic", "area": "box"}  # where its word is another


def pixels(image: Image, data: bytes, *, flip: bool, chance: random.Random | None = None) -> Tensor:
    """(3, height, width) from -1 to 1; with `chance`, cropped and coloured at random if asked."""
    # alpha is dropped and EXIF orientation ignored, as by kohya
    array = np.array(_placed(_opened(image.path, data).convert("RGB"), image, chance), np.uint8)
    if chance is not None and image.subset.color_aug:
        array = np.array(_jittered(array, chance))
    if flip:
        array = array[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1).float() / 127.5 - 1.0


def mask(image: Image, data: bytes, *, flip: bool, chance: random.Random | None = None) -> Tensor:
    """(height, width) from 0 to 1: how much each pixel counts. `data` is the mask's file, where the
    image has one, whose red is meant; else the image's own, and its opacity. It is cut as `pixels`
    is, given the same chance.
    """
    if image.mask is not None:
        layer = _opened(image.mask, data).convert("RGB").getchannel("R")
    else:
        layer = _opened(image.path, data).convert("RGBA").getchannel("A")
    array = np.array(_placed(layer, image, chance), np.float32) / 255.0
    return torch.from_numpy(np.ascontiguousarray(array[:, ::-1] if flip else array))


def _opened(path: Path, data: bytes) -> Pillow.Image:
    try:
        with Pillow.open(io.BytesIO(data), formats=kinds()) as opened:
            opened.load()
            return opened
    # Pillow's ways of saying that a file is broken behind an intact header
    except (OSError, SyntaxError, ValueError) as error:
        raise RecipeError(f"{path}: the picture cannot be read ({error}).") from error


def _placed(picture: Pillow.Image, image: Image, chance: random.Random | None) -> Pillow.Image:
    """Scaled and cut to the bucket."""
    width, height = image.placement.scaled
    smaller = picture.width >= width and picture.height >= height
    method = image.subset.resize_interpolation or ("area" if smaller else "lanczos")
    if picture.size != (width, height) and method == "area" and smaller:
        columns = _averaged(np.asarray(picture), height).swapaxes(0, 1)
        array = _averaged(np.ascontiguousarray(columns), width).swapaxes(0, 1)
        picture = Pillow.fromarray(np.rint(array).astype(np.uint8))
    elif picture.size != (width, height):
        resampling = Pillow.Resampling[PILLOWS.get(method, method).upper()]
        picture = picture.resize((width, height), resampling)
    wide, high = image.bucket
    left, top = _corner(width - wide, image, chance), _corner(height - high, image, chance)
    return picture.crop((left, top, left + wide, top + high))


def _averaged(rows: Any, count: int) -> Any:
    """So many rows, each the mean of what it covers to the fraction of a row, as OpenCV's
    INTER_AREA; Pillow's box takes whole ones, and near the full size but one of them.
    """
    whole = (edges := np.linspace(0, len(rows), count + 1)).astype(int)
    sums = np.stack([rows[at:to].sum(axis=0, dtype=np.float32) for at, to in pairwise(whole)])
    cut = (rows[whole.clip(max=len(rows) - 1)].T * (edges - whole).astype(np.float32)).T
    return (sums - cut[:-1] + cut[1:]) * np.float32(count / len(rows))


def _corner(spare: int, image: Image, chance: random.Random | None) -> int:
    if chance is not None and image.subset.random_crop and spare > 0:
        return chance.randint(0, spare)
    return max(0, spare) // 2


def _jittered(array: Any, chance: random.Random) -> Any:
    """One time in three, a slight turn of the hue or a slight gamma."""
    if chance.random() >= 1 / 3:
        return array
    if chance.random() < 0.5:
        hsv = np.asarray(Pillow.fromarray(array).convert("HSV")).copy()
        turn = chance.randint(-11, 11)  # of 256: 8 of OpenCV's 180
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + turn) % 256
        return np.asarray(Pillow.fromarray(hsv, mode="HSV").convert("RGB"))
    gamma = chance.uniform(0.95, 1.05)
    return (np.power(array / 255.0, gamma) * 255 + 0.5).astype(np.uint8)


def size_ids(image: Image, *, flip: bool) -> list[float]:
    """SDXL's six numbers: original size, crop corner, target size, each height first."""
    (width, height), (wide, high) = image.size, image.bucket
    ratio = width / height
    scaled_wide, scaled_high = min(high * ratio, wide), min(wide / ratio, high)
    left, top = (wide - scaled_wide) // 2, (high - scaled_high) // 2
    if flip:
        left = wide - (left + scaled_wide)
    return [float(int(side)) for side in (height, width, top, left, high, wide)]


class Masks:
    """By an image's opacity, or by a picture of its own, averaged over what one place of a latent
    covers. Read once, but for crops at random.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[Path, tuple[int, int]], Tensor] = {}

    def of(self, batch: Sequence[Pick], seed: int, size: torch.Size) -> Tensor | None:
        """(batch, 1, height, width) for latents of this size; None where no image has a mask."""
        if not any(one.image.masked for one in batch):
            return None
        return torch.stack([self._one(one, seed, size) for one in batch]).unsqueeze(1)

    def _one(self, draw: Pick, seed: int, size: torch.Size) -> Tensor:
        image, subset = draw.image, draw.image.subset
        if not image.masked:
            return torch.ones(size)
        if subset.random_crop:
            return _shrunk(image, draw, seed, size)
        key = image.path, image.bucket
        if key not in self._made:
            self._made[key] = _shrunk(image, None, seed, size)
        found = self._made[key]
        return found.flip(-1) if draw.flipped(seed) else found


def _shrunk(image: Image, draw: Pick | None, seed: int, size: torch.Size) -> Tensor:
    """`draw`: flipped and cut as its pixels are."""
    flip, chance = (draw.flipped(seed), draw.chance(seed, "pixels")) if draw else (False, None)
    whole = mask(image, (image.mask or image.path).read_bytes(), flip=flip, chance=chance)
    return F.interpolate(whole[None, None], size=size, mode="area")[0, 0]
