"""How a recipe names a file of weights, and where one from the hub is kept."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lorakit.config import cache_dir

# hf:owner/repo, hf:owner/repo/folder/file.safetensors, either with @revision
_REFERENCE = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[\w./-]+))?"
)


class Reference(NamedTuple):
    """hf:owner/repo/file@revision, taken apart."""

    text: str
    repo: str
    file: str  # "": the whole repository
    revision: str


def read_reference(text: str) -> Reference | None:
    """None for a malformed one, or one that would lead out of the cache."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    file, revision = match["file"] or "", match["revision"] or "main"
    outside = {"", ".", ".."} & {*(file or "x").split("/"), *revision.split("/")}
    return None if outside else Reference(text, match["repo"], file, revision)


def fetched_path(reference: str) -> Path | None:
    """Where a file or whole repository is kept once fetched; None if malformed."""
    found = read_reference(reference)
    if found is None:
        return None
    repo, revision = (part.replace("/", "--") for part in (found.repo, found.revision))
    return cache_dir() / "weights" / repo / revision / found.file


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
