"""Where a tagger's two files come from: a folder, or a repository on the hub at a revision. Says
exactly what was used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lorakit.errors import LorakitError, RecipeError, SetupError, did_you_mean
from lorakit.files import sha256

MODEL, TAGS = "model.onnx", "selected_tags.csv"
# Short names for the v3 taggers (Apache-2.0); any other repository with the same two files works by
# its full name.
KNOWN: Mapping[str, str] = {
    "wd-vit": "SmilingWolf/wd-vit-tagger-v3",
    "wd-swinv2": "SmilingWolf/wd-swinv2-tagger-v3",
    "wd-convnext": "SmilingWolf/wd-convnext-tagger-v3",
    "wd-vit-large": "SmilingWolf/wd-vit-large-tagger-v3",
    "wd-eva02-large": "SmilingWolf/wd-eva02-large-tagger-v3",
}
_REPOSITORY = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class Model:
    model: Path
    tags: Path
    source: str  # the folder, or owner/repo@commit
    sha256: str  # of model.onnx

    def __str__(self) -> str:
        return f"{self.source} (model.onnx sha256 {self.sha256})"


def open_model(asked: str, *, expected_sha256: str = "") -> Model:
    """A folder wins over a name. What is on this machine already is used without asking the
    network.
    """
    folder = Path(asked).expanduser()
    if folder.is_dir():
        missing = [name for name in (MODEL, TAGS) if not (folder / name).is_file()]
        if missing:
            raise SetupError(
                f"{folder} has no {' and no '.join(missing)}.",
                hint=f"A WD tagger is the two files {MODEL} and {TAGS}.",
            )
        model, tags, source = folder / MODEL, folder / TAGS, str(folder)
    else:
        model, tags, source = _from_hub(asked)
    digest = sha256(model)
    if expected_sha256 and digest != expected_sha256.lower():
        raise LorakitError(
            f"{model}: sha256 is {digest}, not {expected_sha256.lower()}; nothing was tagged."
        )
    return Model(model, tags, source, digest)


def repository(asked: str) -> tuple[str, str | None]:
    """owner/repo and revision, from a short name, a full name, or either with @revision."""
    name, at, revision = asked.partition("@")
    match = _REPOSITORY.fullmatch(KNOWN.get(name, name) + at + revision)
    if match is None:
        known, near = ", ".join(KNOWN), did_you_mean(name, KNOWN)
        raise RecipeError(
            f"--model {asked}: neither a folder nor the name of a tagger. {near}".rstrip(),
            hint=f"Give a folder with {MODEL} and {TAGS}, owner/repo@revision, or one of {known}.",
        )
    return match["repo"], match["revision"]


def _from_hub(asked: str) -> tuple[Path, Path, str]:
    repo, revision = repository(asked)
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise SetupError(
            "Fetching a tagger needs the package huggingface-hub.",
            hint='pip install "lorakit[tag]"',
        ) from error

    def file(name: str) -> Path:
        try:
            return Path(hf_hub_download(repo, name, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:
            return Path(hf_hub_download(repo, name, revision=revision))

    try:
        model, tags = file(MODEL), file(TAGS)
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SetupError(
            f"{repo}{f' at {revision}' if revision else ''} could not be fetched: {reason}",
            hint=(
                f"Without a network, put {MODEL} and {TAGS} into a folder and name that with"
                " --model."
            ),
        ) from error
    return model, tags, f"{repo}@{model.parent.name}"  # the cache keeps each file under its commit
