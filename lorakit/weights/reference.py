"""How a recipe names a file of weights, and where one from the hub is kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lorakit.config import cache_dir

# hf:owner/repo, hf:owner/repo/folder/file.safetensors, either with @revision
REFERENCE = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[\w./-]+))?"
)


def fetched_path(reference: str) -> Path | None:
    """Where a file or whole repository is kept once fetched; None if malformed."""
    match = REFERENCE.fullmatch(reference)
    if not match or {"", ".", ".."} & {
        *(match["file"] or "x").split("/"),
        *(match["revision"] or "x").split("/"),
    }:
        return None  # no reference may lead out of the cache
    folder = (
        cache_dir()
        / "weights"
        / match["repo"].replace("/", "--")
        / (match["revision"] or "main").replace("/", "--")
    )
    return folder / match["file"] if match["file"] else folder


@dataclass(frozen=True)
class WeightFile:
    """A file of weights that the run loads."""

    option: str  # pretrained_model_name_or_path, vae, clip_l, ...
    asked: str  # as the recipe says it
    path: Path
    # "hf:owner/repo/file@revision" where it must be fetched first; "" for what is on this machine
    reference: str = ""
    present: bool = True
    sha256: str = ""  # as the recipe states it; "" where it states none
