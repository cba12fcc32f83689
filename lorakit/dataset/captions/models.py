"""Taggers and describers: where their files are, in a folder or on the hub, and which they are."""

import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lorakit import json_text, tomllib
from lorakit.errors import LorakitError, RecipeError, SetupError, did_you_mean
from lorakit.files import sha256
from lorakit.user_files import Unreadable
from lorakit.weights.hub import endpoint

MODEL, TAGS = "model.onnx", "selected_tags.csv"
_PAGE = tomllib.page(__file__, "models.toml")
TAGGERS: Mapping[str, str] = _PAGE["taggers"]
DESCRIBERS: Mapping[str, str] = _PAGE["describers"]
KINDS = ("florence2", "blip", "llava")  # as their config.json has it
INSTALL_TAGGER = 'pip install "lorakit[tag]"'
INSTALL_DESCRIBER = 'pip install "lorakit[caption]"'
_REPOSITORY = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class CaptionModel:
    weights: Path
    source: str  # the folder, or owner/repo@commit
    sha256: str  # of the weights

    def __str__(self) -> str:
        return f"{self.source} ({self.weights.name} sha256 {self.sha256})"


def open_tagger(asked: str, *, expected_sha256: str = "") -> CaptionModel:
    """A folder wins over a name. What is on this machine is used without asking the network."""
    folder, source = Path(asked).expanduser(), asked
    if not folder.is_dir():
        hint = (
            f"Without a network, put {MODEL} and {TAGS} into a folder and name that with --model."
        )
        folder, source = _fetched(*tagger_repository(asked), (MODEL, TAGS), INSTALL_TAGGER, hint)
    missing = [name for name in (MODEL, TAGS) if not (folder / name).is_file()]
    if missing:
        hint = f"A WD tagger is the two files {MODEL} and {TAGS}."
        raise SetupError(f"{folder} has no {' and no '.join(missing)}.", hint=hint)
    digest, wanted = sha256(folder / MODEL), expected_sha256.lower()
    if wanted and digest != wanted:
        what = f"{folder / MODEL}: sha256 is {digest}, not {wanted}; nothing was tagged."
        raise LorakitError(what)
    return CaptionModel(folder / MODEL, source, digest)


def tagger_repository(asked: str) -> tuple[str, str | None]:
    """owner/repo and revision, from a short name, a full name, or either with @revision."""
    found = _repository(asked, TAGGERS)
    if found is None:
        known, near = ", ".join(TAGGERS), did_you_mean(asked.partition("@")[0], TAGGERS)
        what = f"--model {asked}: neither a folder nor the name of a tagger. {near}".rstrip()
        hint = f"Give a folder with {MODEL} and {TAGS}, owner/repo@revision, or one of {known}."
        raise RecipeError(what, hint=hint)
    return found


def open_describer(
    asked: str, option: str = "--tagger", kinds: Sequence[str] = KINDS
) -> CaptionModel:
    """A folder as transformers reads it, a short name, or [hf:]owner/repo@revision."""
    folder, source = Path(asked).expanduser(), asked
    if not folder.is_dir():
        found = _repository(asked.removeprefix("hf:"), DESCRIBERS)
        names = [*DESCRIBERS, "wd", "kohya"] if kinds is KINDS else ["hf:owner/repo"]
        if found is None:
            near = did_you_mean(asked.partition("@")[0], names)
            hint = f"Give a folder, owner/repo@revision, or {', '.join(names)}."
            what = f"{option} {asked}: neither a model nor a folder. {near}".rstrip()
            raise RecipeError(what, hint=hint)
        hint = f"Without a network: {option} FOLDER, where {found[0]} was unpacked."
        needs = ("config.json", "*.safetensors", "*.json", "*.txt")
        folder, source = _fetched(*found, needs, INSTALL_DESCRIBER, hint)
    try:
        config = json_text.read(folder / "config.json")
    except Unreadable as error:
        raise SetupError(f"{folder} is no model folder: {error}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    weights = sorted(folder.glob("*.safetensors"))
    if kind not in kinds or not weights:
        what = f"holds a {kind} model" if kind not in kinds else "has no .safetensors weights"
        raise SetupError(f"{folder} {what}; {option} takes {', '.join(kinds)}.")
    return CaptionModel(weights[0], source, sha256(weights[0]))


def _repository(asked: str, known: Mapping[str, str]) -> tuple[str, str | None] | None:
    name, at, revision = asked.partition("@")
    match = _REPOSITORY.fullmatch(known.get(name, name) + at + revision)
    return match and (match["repo"], match["revision"])


def _fetched(
    repo: str, revision: str | None, needs: Sequence[str], install: str, hint: str
) -> tuple[Path, str]:
    """The folder with these files, and what it is called; an unfinished download goes on."""
    try:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise SetupError("Fetching a model needs huggingface-hub.", hint=install) from error
    wanted = {"revision": revision, "allow_patterns": [*needs]}
    try:
        place: Path | None = None
        with suppress(LocalEntryNotFoundError):
            place = Path(snapshot_download(repo, local_files_only=True, **wanted))
        if place is None or not all(any(place.glob(name)) for name in needs[:2]):
            if not (constants.HF_HUB_OFFLINE or _hub_answers()):
                raise OSError("the hub does not answer")
            place = Path(snapshot_download(repo, **wanted))
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        named = f"{repo}{f' at {revision}' if revision else ''}"
        raise SetupError(f"{named} could not be fetched: {reason}.", hint=hint) from error
    return place, f"{repo}@{place.name}"  # the cache keeps each folder under its commit


def _hub_answers() -> bool:
    """At once, where its own client would try for half a minute; behind a proxy it may try."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    address = urlsplit(endpoint())
    try:
        port = address.port or 443
        socket.create_connection((address.hostname or "", port), timeout=3).close()
    except OSError:
        return False
    return True
