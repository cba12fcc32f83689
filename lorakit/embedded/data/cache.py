"""Latents and text outputs, computed once and found again by content: an edited image is never
answered with old numbers.
"""

import argparse
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lorakit.config import cache_dir
from lorakit.embedded.data.batches import Pick
from lorakit.embedded.data.dataset import Image
from lorakit.embedded.data.images import Masks, pixels
from lorakit.embedded.models import Base, Conditioning
from lorakit.embedded.models.prompts import Tokens
from lorakit.embedded.training.world import World, seed_of, send
from lorakit.errors import TrainingFailed
from lorakit.files import write_atomic

Named = dict[str, Tensor]
PIECE = 64  # a masked text's length is a multiple: each length is recorded by itself


def fingerprint(module: nn.Module) -> str:
    """Every tensor's name, shape, type and a thousand of its numbers: milliseconds, even for T5."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // 1000)].float().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(some.numpy().tobytes())
    return digest.hexdigest()


class DiskStore:
    """Tensors by key, as a dict has them, in files of the cache; a file is complete or absent."""

    def __init__(self, kind: str) -> None:
        self.folder = cache_dir() / "embedded" / kind

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def __getitem__(self, key: str) -> Named:
        return load_file(self._path(key))

    def __setitem__(self, key: str, tensors: Named) -> None:
        kept = {name: tensor.contiguous() for name, tensor in tensors.items()}
        write_atomic(self._path(key), save(kept))


Store = DiskStore | dict[str, Named]


Waiting = tuple[Image, bool, str, bytes]  # whether it is flipped, its key, its file's content


class Latents:
    """Scaled latents of images. Cached: each once, its noise drawn from its own content. Not
    cached: anew every time an image is drawn.
    """

    def __init__(self, base: Base, world: World, args: argparse.Namespace) -> None:
        self.base, self.world, self.batch_size = base, world, args.vae_batch_size or 1
        wide = args.no_half_vae or world.device.type != "cuda"
        self.dtype = torch.float32 if wide else world.weight_dtype
        self.on_disk = bool(args.cache_latents_to_disk)
        self.cached = self.on_disk or bool(args.cache_latents)
        self.masks = Masks()
        self.vae: Any = None
        self._vae_print = ""
        self._store: Store = DiskStore("latents") if self.on_disk else {}
        self._keys: dict[tuple[Path, tuple[int, int], bool], str] = {}

    def open(self) -> Any:
        if self.vae is None:
            self.vae = self.base.load_vae(self.dtype, self.world.device)
        return self.vae

    def close(self) -> None:
        self.vae = None

    def prepare(self, images: Iterable[Image], progress: Callable[[int, int], None]) -> None:
        """Fill the cache, images of one bucket together."""
        self._vae_print = fingerprint(self.open())
        waiting: dict[tuple[int, int], list[Waiting]] = {}
        todo = [
            (image, flip) for image in images for flip in (False, True)[: 1 + image.subset.flip_aug]
        ]
        for count, (image, flip) in enumerate(todo, 1):
            data = image.path.read_bytes()
            key = self._keys[image.path, image.bucket, flip] = self._key(image, data, flip=flip)
            if key not in self._store:
                group = waiting.setdefault(image.bucket, [])
                group.append((image, flip, key, data))
                if len(group) == self.batch_size:
                    self._encode(waiting.pop(image.bucket))
            progress(count, len(todo))
        for group in waiting.values():
            self._encode(group)

    def _key(self, image: Image, data: bytes, *, flip: bool) -> str:
        how = f"{image.bucket} {image.placement.scaled} {image.subset.resize_interpolation} {flip}"
        text = f"2 {self._vae_print} {how} {self.dtype}"  # raise it when files give other pixels
        return hashlib.sha256(hashlib.sha256(data).digest() + text.encode()).hexdigest()

    def _encode(self, group: Sequence[Waiting]) -> None:
        batch = torch.stack([pixels(image, data, flip=flip) for image, flip, _, data in group])
        keys, images = [key for _, _, key, _ in group], [image for image, *_ in group]
        latents = self._sampled(batch, [seed_of("latent", key) for key in keys], images)
        for key, latent in zip(keys, latents, strict=True):
            self._store[key] = {"latent": latent.cpu()}

    @torch.no_grad()
    def _sampled(
        self, batch: Tensor, seeds: Sequence[int], images: Sequence[Image]
    ) -> list[Tensor]:
        encoded = self.open().encode(batch.to(self.world.device, self.dtype))
        latents = []
        for index, seed in enumerate(seeds):
            mean, std = encoded.mean[index].float(), encoded.std[index].float()
            noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed)).to(mean)
            latent = (mean + std * noise - self.base.vae_shift) * self.base.vae_scaling
            if not bool(latent.isfinite().all()):
                what = f"{images[index].path}: the VAE gives numbers that are not finite."
                hint = "Set no_half_vae, use bf16, or a VAE made for half precision."
                raise TrainingFailed(what, hint=hint)
            latents.append(latent)
        return latents

    def of(
        self, batch: Sequence[Pick], seed: int, prefetched: Sequence[Tensor] | None = None
    ) -> Tensor:
        """The latents of a batch, in float32, on the device."""
        images = [draw.image for draw in batch]
        if self.cached:
            keys = [self._keys[d.image.path, d.image.bucket, d.flipped(seed)] for d in batch]
            tensors = [self._store[key]["latent"] for key in keys]
            return send(torch.stack(tensors), self.world.device)
        ready = list(prefetched or self.pixels_of(batch, seed))
        seeds = [seed_of(seed, "vae", d.epoch, d.dataset, d.index, d.repeat) for d in batch]
        sampled = []
        for at in range(0, len(batch), self.batch_size):
            part = slice(at, at + self.batch_size)
            sampled += self._sampled(torch.stack(ready[part]), seeds[part], images[part])
        return torch.stack(sampled)

    def pixels_of(self, batch: Sequence[Pick], seed: int) -> list[Tensor]:
        """Read from the files, cropped and coloured as chance has it."""

        def of(draw: Pick) -> Tensor:
            data, chance = draw.image.path.read_bytes(), draw.chance(seed, "pixels")
            return pixels(draw.image, data, flip=draw.flipped(seed), chance=chance)

        return [of(draw) for draw in batch]


class Texts:
    """What the text encoders make of captions: asked as they come, or remembered, each once."""

    def __init__(
        self,
        base: Base,
        device: torch.device,
        tokenizers: Sequence[Any],
        encoders: Sequence[Any],
        store: Store | None = None,
    ) -> None:
        self.base, self.device, self.tokenizers = base, device, tokenizers
        # empty once all is remembered; FLUX may keep its CLIP alone
        self.encoders = tuple(encoders)
        self.trained = False
        self._store: Store = {} if store is None else store
        self._keys: dict[str, str] = {}

    @torch.no_grad()
    def remember(self, captions: Sequence[str], batch_size: int = 1) -> None:
        """The encoders can be dropped afterwards."""
        base = self.base
        prints = " ".join(fingerprint(encoder) for encoder in self.encoders)
        how = f"{base.clip_skip} {base.max_token_length} {base.t5_length} {base.t5_mask}"
        marks = f"{prints} {how}".encode()
        missing = []
        for caption in captions:
            parts = base.tokenize(self.tokenizers, [caption])
            tokens = b"".join(part.numpy().tobytes() for part in parts)
            key = self._keys[caption] = hashlib.sha256(tokens + marks).hexdigest()
            if key not in self._store:
                missing.append(caption)
        for at in range(0, len(missing), batch_size):
            some = missing[at : at + batch_size]
            encoded = vars(base.encode(self.encoders, self.tokens(some)))
            found = {name: tensor for name, tensor in encoded.items() if tensor is not None}
            for index, caption in enumerate(some):
                own = {name: tensor[index].clone().cpu() for name, tensor in found.items()}
                self._store[self._keys[caption]] = own

    @torch.no_grad()
    def of(self, captions: Sequence[str]) -> Conditioning:
        return self.told(self.tokens(captions), self.kept(captions))

    def tokens(self, captions: Sequence[str]) -> Tokens:
        if not self.encoders:
            return ()
        parts = self.base.tokenize(self.tokenizers, captions)
        return tuple(send(part, self.device) for part in parts)

    def kept(self, captions: Sequence[str]) -> Conditioning | None:
        """What is remembered; where CLIP learns, T5's part of it."""
        if len(self.encoders) == len(self.base.text):
            return None
        found = [self._store[self._keys[caption]] for caption in captions]
        if "mask" in found[0]:  # what no attention sees is left out
            seen = slice(-(-max(int(one["mask"].sum()) for one in found) // PIECE) * PIECE)
            found = [one | {name: one[name][seen] for name in ("hidden", "mask")} for one in found]
        stacked = {name: torch.stack([one[name] for one in found]) for name in found[0]}
        return Conditioning(**{name: send(part, self.device) for name, part in stacked.items()})

    def told(self, tokens: Tokens, kept: Conditioning | None) -> Conditioning:
        """Differentiable."""
        if kept is None:
            return self.base.encode(self.encoders, tokens)
        if not tokens:
            return kept
        return replace(kept, pooled=self.encoders[0](tokens[0].flatten(0, 1)).pooled)
