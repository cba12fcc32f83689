"""How much each place of a latent counts in the loss (`masked_loss`): by an image's opacity, or by
a picture of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional as F

from lorakit.embedded.data.batches import Pick
from lorakit.embedded.data.dataset import Image
from lorakit.embedded.data.images import mask


class Masks:
    """Averaged over what one place of a latent covers. Read once, but for crops at random."""

    def __init__(self) -> None:
        self._made: dict[tuple[Path, tuple[int, int]], torch.Tensor] = {}

    def of(self, batch: Sequence[Pick], seed: int, size: torch.Size) -> torch.Tensor | None:
        """(batch, 1, height, width) for latents of this size; None where no image has a mask."""
        if not any(one.image.masked for one in batch):
            return None
        return torch.stack([self._one(one, seed, size) for one in batch]).unsqueeze(1)

    def _one(self, draw: Pick, seed: int, size: torch.Size) -> torch.Tensor:
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


def _shrunk(image: Image, draw: Pick | None, seed: int, size: torch.Size) -> torch.Tensor:
    """`draw`: flipped and cut as its pixels are."""
    flip, chance = (draw.flipped(seed), draw.chance(seed, "pixels")) if draw else (False, None)
    whole = mask(image, (image.mask or image.path).read_bytes(), flip=flip, chance=chance)
    return F.interpolate(whole[None, None], size=size, mode="area")[0, 0]
