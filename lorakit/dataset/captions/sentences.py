"""Captions in sentences, by a model that describes pictures: Florence-2 or BLIP, from a folder or
the hub. It runs in a child process with torch; what it said is remembered per picture and model.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lorakit import json_text, proc
from lorakit.config import cache_dir
from lorakit.errors import RecipeError, SetupError, did_you_mean
from lorakit.files import sha256
from lorakit.memo import Memo
from lorakit.user_files import Unreadable

KNOWN: Mapping[str, str] = {
    "florence2": "florence-community/Florence-2-base",
    "blip": "Salesforce/blip-image-captioning-base",
}
INSTALL = 'pip install "lorakit[caption]"'
FEATURES = (
    r"(?:hair|eyes|eyebrows|eyelashes|nose|lips|cheeks|cheekbones|jaw|jawline|chin|forehead"
    r"|freckles|dimples|wrinkles|beard|moustache|mustache|skin|complexion"
    r"|(?:round|oval|square|heart-shaped|narrow|thin|freckled) face)"
)
SMALL = r"(?:a|an|the|with|and|in|on|of|at|has|is|are|his|her|their|its|who|\w+ing)"
IDENTITY = re.compile(  # with what joins it to the rest
    rf"(?:(?:,? (?:and|with|who has|has)|,|^| (?=his|her|their)) ?)(?:(?:an?|the|his|her|their) )?"
    rf"(?:(?!{SMALL}\b)[\w-]+ ){{0,4}}{FEATURES}\b(?! (?:closed|open|shut))"
    r"(?: (?:is|are) [\w-]+(?: and [\w-]+)?)?",
    re.IGNORECASE,
)
EXPRESSION = re.compile(r"\b(?:closed|open|shut|half-closed|looking|wide)\b", re.IGNORECASE)
LOOP = re.compile(r"\b(\w.{0,80}?)(?:[\s,.]+\1\b){2,}")


@dataclass(frozen=True)
class Describer:
    folder: Path
    source: str  # the folder, or owner/repo@commit
    sha256: str  # of its weights

    def __str__(self) -> str:
        return f"{self.source} (sha256 {self.sha256[:16]})"


def open_describer(asked: str) -> Describer:
    """A folder wins over a name; what is on this machine is used without asking the network."""
    folder, source = Path(asked).expanduser(), asked
    if not folder.is_dir():
        folder, source = _from_hub(asked)
    try:
        config = json_text.read(folder / "config.json")
    except Unreadable as error:
        raise SetupError(f"{folder} is no model folder: {error}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    weights = sorted(folder.glob("*.safetensors"))
    if kind not in KNOWN or not weights:
        what = f"holds a {kind} model" if kind not in KNOWN else "has no .safetensors weights"
        raise SetupError(f"{folder} {what}; lorakit describes with {' or '.join(KNOWN)}.")
    return Describer(folder, source, sha256(weights[0]))


def _from_hub(asked: str) -> tuple[Path, str]:
    name, _, revision = asked.partition("@")
    repo = KNOWN.get(name, name)
    if "/" not in repo:
        near = did_you_mean(name, [*KNOWN, "wd", "kohya"])
        hint = f"Give a folder, owner/repo@revision, or {', '.join(KNOWN)}, wd, kohya."
        raise RecipeError(f"--tagger {asked}: neither a tagger nor a folder. {near}", hint=hint)
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise SetupError("Fetching a model needs huggingface-hub.", hint=INSTALL) from error
    wanted = {"revision": revision or None, "allow_patterns": ["*.json", "*.txt", "*.safetensors"]}
    try:
        try:
            place = Path(snapshot_download(repo, local_files_only=True, **wanted))
        except LocalEntryNotFoundError:
            if not hub_answers():
                raise OSError("the hub does not answer") from None
            place = Path(snapshot_download(repo, **wanted))
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:200]
        hint = f"Without a network: --tagger FOLDER, where {repo} was unpacked."
        raise SetupError(f"{repo} could not be fetched: {reason}.", hint=hint) from error
    return place, f"{repo}@{place.name}"


def hub_answers() -> bool:
    """At once, where its own client would try for half a minute; behind a proxy it may try."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        port = address.port or 443
        socket.create_connection((address.hostname or "", port), timeout=3).close()
    except OSError:
        return False
    return True


def described(
    model: Describer, images: Sequence[Path], progress: Callable[[int, int], None]
) -> dict[Path, str]:
    """A sentence for each picture; what was said before an interruption is kept."""
    known = Memo(cache_dir() / "sentences" / f"{model.sha256[:16]}.json")
    found = {path: text for path in images if (text := known.get(path)) is not None}
    todo = [path for path in images if path not in found]
    if not todo:
        return found
    with tempfile.TemporaryDirectory(prefix="lorakit-captions-") as name:
        folder = Path(name)
        order = {"model": str(model.folder), "images": [str(path) for path in todo]}
        (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
        try:
            _run(folder, lambda done: progress(len(found) + done, len(images)))
        finally:
            for number, text in _said(folder):
                known.put(todo[number], text)
                found[todo[number]] = text
            known.save()
    return found


def _run(folder: Path, progress: Callable[[int], None]) -> None:
    package = Path(__file__).parents[3]
    paths = filter(None, (str(package), os.environ.get("PYTHONPATH", "")))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "lorakit.embedded.describing", str(folder)]
    child = proc.start(command, cwd=folder, env=env, log=folder / "log")
    try:
        while child.poll() is None:
            time.sleep(0.2)
            progress(len(_said(folder)))
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode:
        text = (folder / "log").read_text(encoding="utf-8", errors="replace").strip()
        last = text.splitlines()[-1] if text else f"exit code {child.returncode}"
        raise SetupError(f"The pictures could not be described: {last}", hint=INSTALL)


def _said(folder: Path) -> list[tuple[int, str]]:
    try:
        text = (folder / "said.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    whole = text.rpartition("\n")[0]  # the last line may not be all there yet
    return [(number, said) for number, said in map(json_text.loads, whole.splitlines())]


def tidied(text: str) -> str:
    """One line; what a model says again and again, once."""
    line = LOOP.sub(r"\1", " ".join(text.split()))
    return line.strip(" .,")


def without_identity(text: str) -> tuple[str, list[str]]:
    """Without what belongs to the trigger, hair and eyes and face, and what that was."""
    dropped: list[str] = []

    def drop(found: re.Match[str]) -> str:
        if EXPRESSION.search(found[0]):
            return found[0]
        dropped.append(re.sub(r"^(?:and|with|who has|has) ", "", found[0].strip(" ,")))
        return ""

    left = IDENTITY.sub(drop, text)
    left = re.sub(r"\s+([,.])", r"\1", " ".join(left.split()))
    return re.sub(r"([,.])[,.]+", r"\1", left).strip(" ,"), dropped
