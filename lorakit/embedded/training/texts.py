"""Captions to conditioning: asked once for the whole run where nothing about them learns or varies,
else through the encoders at every step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from lorakit.embedded.data.batches import epoch_batches, validation_batches
from lorakit.embedded.data.cache import TextCache
from lorakit.embedded.models import Base, Conditioning
from lorakit.embedded.training.task import Task
from lorakit.embedded.training.world import World, emit, send

MOST_CAPTIONS = 4096  # kept in memory when nobody asked for a cache; more are encoded as they come


@dataclass
class Texts:
    base: Base
    world: World
    cache: TextCache
    tokenizers: Any = ()
    encoders: tuple[nn.Module, ...] = ()  # empty once all is cached; FLUX may keep its CLIP alone
    trained: bool = False

    @torch.no_grad()
    def of(self, captions: Sequence[str]) -> Conditioning:
        if not self.encoders:
            return self.cache.of(captions)
        return self.told(self.tokens(captions), self.kept(captions))

    def tokens(self, captions: Sequence[str]) -> tuple[torch.Tensor, ...]:
        parts = self.base.tokenize(self.tokenizers, captions)
        return tuple(send(part, self.world.device) for part in parts)

    def kept(self, captions: Sequence[str]) -> Conditioning | None:
        """What is known already where the other encoder learns: T5's outputs, beside CLIP."""
        return self.cache.of(captions) if len(self.encoders) < len(self.base.text) else None

    def told(self, tokens: tuple[torch.Tensor, ...], kept: Conditioning | None) -> Conditioning:
        """Differentiable."""
        if kept is not None:
            return replace(kept, pooled=self.encoders[0](tokens[0].flatten(0, 1)).pooled)
        return self.base.encode(self.encoders, tokens)


def open_texts(task: Task) -> Texts:
    """Encoders that do not learn are asked once for every caption of the run, then dropped."""
    args, world, base = task.args, task.world, task.base
    batch_size = getattr(args, "text_encoder_batch_size", None) or 1
    on_disk = bool(args.cache_text_encoder_outputs_to_disk)
    cache = TextCache(base, world, on_disk=on_disk, batch_size=batch_size)
    trained = not args.network_train_unet_only
    asked = args.cache_text_encoder_outputs or on_disk
    captions = _captions(task, None if asked else MOST_CAPTIONS)
    tokenizers = base.load_tokenizers()
    # On the CPU CLIP stays in float32, as kohya keeps it; T5 would take 19 GB.
    wide = world.device.type == "cpu" and base.family != "flux"
    encoders = base.load_encoders(torch.float32 if wide else world.weight_dtype, world.device)
    flux_clip = base.family == "flux" and trained
    if captions is None or (trained and not (flux_clip and asked)):
        return Texts(base, world, cache, tokenizers, encoders, trained=trained)
    emit("phase", phase="caching")
    for prompt in task.prompts:
        captions += [prompt.prompt, prompt.negative_prompt]
    cache.prepare(captions, tokenizers, encoders)
    kept = encoders[:1] if flux_clip else ()
    return Texts(base, world, cache, tokenizers, kept, trained=flux_clip)


def _captions(task: Task, most: int | None) -> list[str] | None:
    """Every caption of the run, which the seed decides; None where they vary too much."""
    datasets, seed = task.datasets, task.seed
    subsets = [subset for dataset in datasets for subset in dataset.subsets]
    if any(subset.varies for subset in subsets):
        return None
    changing = any(subset.varies_by_epoch for subset in subsets)
    found: dict[str, None] = {}
    for epoch in (*range(1, (task.epochs if changing else 1) + 1), 0):  # 0: what is held out
        batches = epoch_batches(datasets, seed, epoch) if epoch else validation_batches(datasets)
        for batch in batches:
            for draw in batch:
                found[draw.caption(seed, step=0, total_steps=task.args.max_train_steps)] = None
        if most is not None and len(found) > most:
            return None
    return list(found)
