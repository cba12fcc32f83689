"""Latents and text outputs, computed once and found again by content: an edited image is never
answered with old numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lorakit.config import cache_dir
from lorakit.embedded.data.batches import Draw
from lorakit.embedded.data.dataset import Image
from lorakit.embedded.data.images import pixels
from lorakit.embedded.models import Base, Conditioning
from lorakit.embedded.training.randomness import seed_of
from lorakit.embedded.training.world import World
from lorakit.files import write_atomic


def fingerprint(module: nn.Module) -> str:
    """Which weights these are: every tensor's name, shape, type and a thousand of its numbers.
    Milliseconds, even for T5.
    """
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // 1000)].float().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(some.numpy().tobytes())
    return digest.hexdigest()


class Shelf:
    """Tensors by key: in memory, and on disk where asked for. A file is whole or absent."""

    def __init__(self, kind: str, *, on_disk: bool) -> None:
        self.folder = cache_dir() / "embedded" / kind if on_disk else None
        self._memory: dict[str, dict[str, torch.Tensor]] = {}

    def _path(self, key: str) -> Path | None:
        return self.folder / key[:2] / f"{key}.safetensors" if self.folder else None

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        path = self._path(key)
        if path is None:
            return self._memory.get(key)
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except FileNotFoundError:
            return None

    def has(self, key: str) -> bool:
        path = self._path(key)
        return path.is_file() if path else key in self._memory

    def put(self, key: str, tensors: dict[str, torch.Tensor]) -> None:
        path = self._path(key)
        if path is None:
            self._memory[key] = tensors
            return
        from safetensors.torch import save

        write_atomic(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


class Latents:
    """Scaled latents of images. Cached: each once, its noise drawn from its own content. Not
    cached: anew for every draw.
    """

    def __init__(
        self,
        base: Base,
        world: World,
        *,
        no_half_vae: bool,
        cached: bool,
        on_disk: bool,
        batch_size: int,
    ) -> None:
        self.base, self.world, self.batch_size = base, world, max(1, batch_size)
        self.dtype = (
            torch.float32 if no_half_vae or world.device.type != "cuda" else world.weight_dtype
        )
        self.cached = cached
        self.vae: Any = None
        self._print = ""
        self._shelf = Shelf("latents", on_disk=on_disk)
        self._keys: dict[tuple[Path, tuple[int, int], bool], str] = {}

    def open(self) -> Any:
        if self.vae is None:
            self.vae = self.base.load_vae(self.dtype, self.world.device)
        return self.vae

    def close(self) -> None:
        self.vae = None

    def prepare(self, images: Iterable[Image], progress: Callable[[int, int], None]) -> None:
        """Fill the cache, images of one bucket together."""
        self._print = fingerprint(self.open())
        waiting: dict[tuple[int, int], list[tuple[Image, bool, str, bytes]]] = {}
        todo = [
            (image, flip)
            for image in images
            for flip in ((False, True) if image.subset.flip_aug else (False,))
        ]
        for count, (image, flip) in enumerate(todo, 1):
            data = image.path.read_bytes()
            key = self._key(image, data, flip=flip)
            self._keys[image.path, image.bucket, flip] = key
            if not self._shelf.has(key):
                group = waiting.setdefault(image.bucket, [])
                group.append((image, flip, key, data))
                if len(group) == self.batch_size:
                    self._encode(waiting.pop(image.bucket))
            progress(count, len(todo))
        for group in waiting.values():
            self._encode(group)

    def _key(self, image: Image, data: bytes, *, flip: bool) -> str:
        said = (
            f"{self._print} {image.bucket} {image.placement.scaled}"
            f" {image.subset.resize_interpolation} {flip} {self.dtype}"
        )
        return hashlib.sha256(hashlib.sha256(data).digest() + said.encode()).hexdigest()

    def _encode(self, group: Sequence[tuple[Image, bool, str, bytes]]) -> None:
        batch = torch.stack([pixels(image, data, flip=flip) for image, flip, _, data in group])
        seeds = [seed_of("latent", key) for *_, key, _ in group]
        for (_, _, key, _), latent in zip(
            group, self._sampled(batch, seeds, [image for image, *_ in group]), strict=True
        ):
            self._shelf.put(key, {"latent": latent.cpu()})

    @torch.no_grad()
    def _sampled(
        self, batch: torch.Tensor, seeds: Sequence[int], images: Sequence[Image]
    ) -> list[torch.Tensor]:
        encoded = self.open().encode(batch.to(self.world.device, self.dtype))
        latents = []
        for index, seed in enumerate(seeds):
            mean, std = encoded.mean[index].float(), encoded.std[index].float()
            noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed)).to(mean)
            latent = (mean + std * noise - self.base.vae_shift) * self.base.vae_scaling
            if not bool(latent.isfinite().all()):
                from lorakit.errors import TrainingFailed

                raise TrainingFailed(
                    f"{images[index].path}: the VAE gives numbers that are not finite.",
                    hint="Set no_half_vae, use bf16, or a VAE made for half precision.",
                )
            latents.append(latent)
        return latents

    def of(
        self, batch: Sequence[Draw], seed: int, prefetched: Sequence[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """The latents of a batch, in float32, on the device."""
        if self.cached:
            tensors = []
            for draw in batch:
                found = self._shelf.get(
                    self._keys[draw.image.path, draw.image.bucket, draw.flipped(seed)]
                )
                assert found is not None
                tensors.append(found["latent"])
            return torch.stack(tensors).to(self.world.device)
        images = prefetched or self.pixels_of(batch, seed)
        seeds = [
            seed_of(seed, "vae", draw.epoch, draw.dataset, draw.index, draw.repeat)
            for draw in batch
        ]
        sampled = []
        for at in range(0, len(batch), self.batch_size):
            part = slice(at, at + self.batch_size)
            sampled += self._sampled(
                torch.stack(list(images[part])), seeds[part], [draw.image for draw in batch[part]]
            )
        return torch.stack(sampled)

    def pixels_of(self, batch: Sequence[Draw], seed: int) -> list[torch.Tensor]:
        return [
            pixels(
                draw.image,
                draw.image.path.read_bytes(),
                flip=draw.flipped(seed),
                chance=draw.chance(seed, "pixels"),
            )
            for draw in batch
        ]


class Told:
    """What the text encoders say of captions, each caption once; the encoders can be dropped
    afterwards.
    """

    def __init__(self, base: Base, world: World, *, on_disk: bool, batch_size: int) -> None:
        self.base, self.world, self.batch_size = base, world, max(1, batch_size)
        self._shelf = Shelf("text", on_disk=on_disk)
        self._keys: dict[str, str] = {}

    @torch.no_grad()
    def prepare(
        self, captions: Sequence[str], tokenizers: Any, encoders: Sequence[nn.Module]
    ) -> None:
        base = self.base
        marks = " ".join(fingerprint(encoder) for encoder in encoders)
        marks += (
            f" {base.clip_skip} {base.max_token_length} {base.t5_length} {base.t5_mask}"
            f" {self.world.precision}"
        )
        missing = []
        for caption in captions:
            tokens = base.tokenize(tokenizers, [caption])
            said = b"".join(part.numpy().tobytes() for part in tokens)
            self._keys[caption] = hashlib.sha256(said + marks.encode()).hexdigest()
            if not self._shelf.has(self._keys[caption]):
                missing.append(caption)
        for at in range(0, len(missing), self.batch_size):
            part = missing[at : at + self.batch_size]
            tokens = tuple(
                tensor.to(self.world.device) for tensor in base.tokenize(tokenizers, part)
            )
            with self.world.autocast():
                told = base.encode(encoders, tokens)
            for index, caption in enumerate(part):
                self._shelf.put(
                    self._keys[caption],
                    {
                        name: tensor[index].clone().cpu()
                        for name, tensor in vars(told).items()
                        if tensor is not None
                    },
                )

    def knows(self, caption: str) -> bool:
        return caption in self._keys

    def of(self, captions: Sequence[str]) -> Conditioning:
        found = [self._shelf.get(self._keys[caption]) or {} for caption in captions]
        return Conditioning(
            **{
                name: torch.stack([one[name] for one in found]).to(self.world.device)
                for name in found[0]
            }
        )
