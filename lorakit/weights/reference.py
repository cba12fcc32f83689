"""How a recipe names a file of weights: a path, or a reference to the hub; and where such a file
is once fetched.
"""

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
    """Where a file (or, without a file, the whole repository) from the hub is kept once fetched;
    None for a malformed reference.
    """
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
    """A file of weights the run will load: kohya's option, what the recipe says, and where it is
    (or will be once fetched).
    """

    option: str  # pretrained_model_name_or_path, vae, clip_l, ...
    asked: str  # as the recipe says it
    path: Path
    # "hf:owner/repo/file@revision" where it must be fetched first; "" for what is on this machine
    reference: str = ""
    present: bool = True
    sha256: str = ""  # as the recipe states it; "" where it states none
