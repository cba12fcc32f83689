"""Captions to conditioning: asked once for the whole run where nothing about them learns or varies,
else through the encoders at every step.
"""

import torch

from lorakit.embedded.data.batches import epoch_batches, validation_batches
from lorakit.embedded.data.cache import DiskStore, Texts
from lorakit.embedded.training.task import Task
from lorakit.embedded.training.world import emit

MOST_CAPTIONS = 4096  # kept in memory when nobody asked for a cache; more are encoded as they come


def open_texts(task: Task) -> Texts:
    """Encoders that do not learn are asked once for every caption of the run, then dropped."""
    args, world, base = task.args, task.world, task.base
    on_disk = bool(args.cache_text_encoder_outputs_to_disk)
    learning = not args.network_train_unet_only
    asked = args.cache_text_encoder_outputs or on_disk
    captions = _captions(task, None if asked else MOST_CAPTIONS)
    # On the CPU CLIP stays in float32, as kohya keeps it; T5 would take 19 GB.
    wide = world.device.type == "cpu" and base.family != "flux"
    encoders = base.load_encoders(torch.float32 if wide else world.weight_dtype, world.device)
    store = DiskStore("text") if on_disk else None
    texts = Texts(base, world.device, base.load_tokenizers(), encoders, store)
    flux_clip = base.family == "flux" and learning
    texts.trained = learning
    if captions is None or (learning and not (flux_clip and asked)):
        return texts
    emit("phase", phase="caching")
    for prompt in task.prompts:
        captions += [prompt.prompt, prompt.negative_prompt]
    texts.remember(captions, getattr(args, "text_encoder_batch_size", None) or 1)
    texts.encoders = encoders[:1] if flux_clip else ()
    return texts


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
