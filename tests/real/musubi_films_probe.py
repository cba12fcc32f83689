"""Run by musubi-tuner's own Python, its src on PYTHONPATH: what its dataset classes make of a dataset.toml. They read every film and picture; only the models are left out, so the caches they name are written empty.

python musubi_films_probe.py ARCHITECTURE dataset.toml      (prints one JSON object)
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path

import torch
from musubi_tuner.dataset import config_utils
from safetensors.torch import save_file


def group(*, training):
    user = config_utils.load_user_config(sys.argv[2])
    generator = config_utils.BlueprintGenerator(config_utils.ConfigSanitizer())
    blueprint = generator.generate(user, argparse.Namespace(), architecture=sys.argv[1])
    return config_utils.generate_dataset_group_by_blueprint(
        blueprint.dataset_group, training=training
    )


def empty(path, controls=()):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    names = {f"latents_control_{n}_1x{h}x{w}_bf16": torch.zeros(1) for n, (h, w) in enumerate(controls)}  # fmt: skip
    save_file({"latents": torch.zeros(1), **names}, path)


items = {}
with contextlib.redirect_stdout(sys.stderr):
    for dataset in group(training=False).datasets:
        for _, batch in dataset.retrieve_latent_cache_batches(1):
            for item in batch:
                controls = item.control_content if isinstance(item.control_content, list) else []
                empty(item.latent_cache_path, [one.shape[:2] for one in controls])
                frames = 0 if item.frame_count is None else len(item.content)
                items[Path(item.latent_cache_path).name] = [frames, len(controls)]
        for batch in dataset.retrieve_text_encoder_output_cache_batches(1):
            for item in batch:
                empty(item.text_encoder_output_cache_path)
    datasets = group(training=True).datasets
buckets = [
    [*key[:2], key[2] if type(one).__name__ == "VideoDataset" else 0, len(members)]
    for one in datasets
    for key, members in sorted(one.batch_manager.buckets.items())
]
batches = sum(map(len, datasets))
print(json.dumps({"items": items, "buckets": buckets, "batches": batches}))
