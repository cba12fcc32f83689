"""A LoRA file's metadata: kohya's ss_* keys and the modelspec.* keys, each with its true value.

But for three: the same training gives the same file, so the times count from SOURCE_DATE_EPOCH
(else from 1980, as in our zips), a second for each step, and the session's number is made of
everything else. When a run really began and ended is in its record.
"""

import contextlib
import datetime as dt
import hashlib
import json
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorakit import __version__
from lorakit.dataset.facts import image_files
from lorakit.embedded.data.dataset import Dataset
from lorakit.embedded.network.targets import network_args
from lorakit.embedded.training.task import Task
from lorakit.errors import RecipeError
from lorakit.files import sha256
from lorakit.trainers.embedded.options import BASES, METADATA

EPOCH = 315532800  # 1980-01-01


def base_hashes(files: Mapping[str, str | None]) -> dict[str, str]:
    """Of a base model's files; made beside the training, at the lowest priority."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
    found: dict[str, str] = {}
    for kind, name in files.items():
        if name and Path(name).is_file():
            with Path(name).open("rb") as file:
                file.seek(0x100000)
                found[f"ss_{kind}_hash"] = hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
            found[f"ss_new_{kind}_hash"] = sha256(Path(name))
    return found


def training(task: Task, dataset: str, optimizer: str) -> dict[str, str]:
    """What is known when the training starts; `dataset`: a digest of it."""
    args, base, datasets = task.args, task.base, task.datasets
    flux, text_lr = base.family == "flux", args.text_encoder_lr
    v_of_sd15 = args.v_parameterization and base.family == "sd15"
    values: dict[str, Any] = {f"ss_{name}": getattr(args, name) for name in METADATA["arguments"]}
    values |= {
        "ss_training_started_at": float(epoch_second()),
        "ss_text_encoder_lr": text_lr if flux else text_lr[0] if text_lr else None,
        "ss_seed": task.seed,
        "ss_num_train_images": sum(one.train_count for one in datasets),
        "ss_num_validation_images": sum(len(one.validation) for one in datasets),
        "ss_num_reg_images": sum(one.reg_count for one in datasets),
        "ss_num_batches_per_epoch": task.batches,
        "ss_num_epochs": task.epochs,
        "ss_v2": False,
        "ss_full_fp16": False,
        "ss_base_model_version": BASES[base.family][0] + ("_v" if v_of_sd15 else ""),
        "ss_cache_latents": bool(args.cache_latents or args.cache_latents_to_disk),
        "ss_sd_scripts_commit_hash": f"(none: lorakit {__version__} embedded)",
        "ss_optimizer": optimizer,
        "ss_debiased_estimation": bool(args.debiased_estimation_loss),
        "ss_face_crop_aug_range": None,
        "ss_fp8_base": bool(args.fp8_base),
        "ss_fp8_base_unet": bool(args.fp8_base_unet),
        "ss_sd_model_name": base.name,
    }
    if flux:
        values |= {f"ss_{name}": getattr(args, name) for name in METADATA["flux"]}
    if args.frozen_linear:
        values["ss_frozen_linear"] = args.frozen_linear
    if args.ema_decay:
        values["ss_ema_decay"] = args.ema_decay
    if args.network_args:
        values["ss_network_args"] = json.dumps(network_args(args))
    if args.vae:
        values["ss_vae_name"] = Path(args.vae).name
    values |= _of_datasets(datasets)
    said = {key: str(value) for key, value in values.items()}
    facts = json.dumps([said, dataset], sort_keys=True).encode()
    return {**said, "ss_session_id": str(int(hashlib.sha256(facts).hexdigest()[:8], 16))}


def epoch_second() -> int:
    """SOURCE_DATE_EPOCH (reproducible-builds.org), else the first second of 1980 (UTC)."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "").strip()
    if text and not re.fullmatch(r"\d{1,11}", text):
        what = f"SOURCE_DATE_EPOCH = {text!r} is no time."
        raise RecipeError(what, hint="Write seconds since 1970, or unset it.")
    return int(text or EPOCH)


def of_checkpoint(task: Task, known: Mapping[str, str], *, step: int, epoch: int) -> dict[str, str]:
    """Everything that one file says."""
    metadata = {
        **known,
        "ss_training_finished_at": str(float(epoch_second() + step)),
        "ss_steps": str(step),
        "ss_epoch": str(epoch),
    }
    if task.args.no_metadata:
        metadata = {key: value for key, value in metadata.items() if key in METADATA["least"]}
    return {**metadata, **_model_spec(task, step)}


def _model_spec(task: Task, step: int) -> dict[str, str]:
    args, (_, architecture, implementation) = task.args, BASES[task.base.family]
    made = dt.datetime.fromtimestamp(epoch_second() + step, dt.timezone.utc)
    width, height = task.datasets[0].rules.resolution
    kind = "v" if args.v_parameterization else "epsilon"
    spec: dict[str, str | None] = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{architecture}/lora",
        "implementation": implementation,
        "implementation_version": f"lorakit/{__version__}",
        "title": args.metadata_title or args.output_name,
        "resolution": f"{width}x{height}",
        "date": made.replace(tzinfo=None).isoformat(timespec="seconds"),
        "prediction_type": None if task.base.family == "flux" else kind,
        "encoder_layer": str(args.clip_skip) if args.clip_skip else None,
    }
    if args.min_timestep is not None or args.max_timestep is not None:
        high = 1000 if args.max_timestep is None else args.max_timestep
        spec["timestep_range"] = f"{args.min_timestep or 0},{high}"
    spec |= {name: getattr(args, f"metadata_{name}") for name in METADATA["from_user"]}
    return {f"modelspec.{name}": value for name, value in spec.items() if value is not None}


def tag_frequency(dataset: Dataset) -> dict[str, Counter[str]]:
    """Folder -> tag -> how many captions hold it."""
    found: dict[str, Counter[str]] = {}
    for image in dataset.images:
        tags = (tag.strip().lower() for tag in re.split("[,\n]", image.caption))
        found.setdefault(image.subset.image_dir.name, Counter()).update(filter(None, tags))
    return found


def bucket_info(dataset: Dataset) -> dict[str, Any]:
    if not dataset.rules.enable:
        return {}
    buckets = {
        index: {"resolution": list(size), "count": len(draws)}
        for index, (size, draws) in enumerate(dataset.buckets.items())
    }
    errors = [abs(image.placement.error) for image in dataset.images]
    return {"buckets": buckets, "mean_img_ar_error": sum(errors) / max(1, len(errors))}


def _of_datasets(datasets: Sequence[Dataset]) -> dict[str, str]:
    folders: dict[str, Any] = {}
    for subset in (one for dataset in datasets for one in dataset.subsets if not one.is_reg):
        name, again = subset.image_dir.name, 2
        while name in folders:
            name, again = f"{subset.image_dir.name} ({again})", again + 1
        count = len(image_files(subset.image_dir))
        folders[name] = {"n_repeats": subset.num_repeats, "img_count": count}
    tags: dict[str, Any] = {}
    for name, counts in (one for dataset in datasets for one in tag_frequency(dataset).items()):
        tags.setdefault(name, counts)
    return {
        "ss_datasets": json.dumps([_of_dataset(one) for one in datasets]),
        "ss_tag_frequency": json.dumps(tags),
        "ss_dataset_dirs": json.dumps(folders),
    }


def _of_dataset(dataset: Dataset) -> dict[str, Any]:
    first = dataset.subsets[:1]
    return {
        "is_dreambooth": True,
        "batch_size_per_device": dataset.batch_size,
        "num_train_images": dataset.train_count,
        "num_reg_images": dataset.reg_count,
        "resolution": list(dataset.rules.resolution),
        "enable_bucket": dataset.rules.enable,
        "min_bucket_reso": dataset.rules.low,
        "max_bucket_reso": dataset.rules.high,
        "tag_frequency": tag_frequency(dataset),
        "bucket_info": bucket_info(dataset),
        "resize_interpolation": first[0].resize_interpolation if first else None,
        "subsets": [
            {"img_count": len(image_files(one.image_dir))}
            | {name: getattr(one, name) for name in METADATA["of_subset"]}
            | {"image_dir": one.image_dir.name}
            for one in dataset.subsets
        ],
    }
