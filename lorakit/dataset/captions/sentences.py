"""Captions in sentences by Florence-2 or BLIP, in a child process; remembered per picture."""

import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lorakit import json_text, proc
from lorakit.config import cache_dir
from lorakit.dataset.captions.models import INSTALL_DESCRIBER, CaptionModel
from lorakit.errors import SetupError
from lorakit.memo import Memo

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


def described(
    model: CaptionModel, images: Sequence[Path], progress: Callable[[int, int], None]
) -> dict[Path, str]:
    """A sentence for each picture; what was said before an interruption is kept."""
    known = Memo(cache_dir() / "sentences" / f"{model.sha256[:16]}.json")
    found = {path: text for path in images if (text := known.get(path)) is not None}
    todo = [path for path in images if path not in found]
    if not todo:
        return found
    with tempfile.TemporaryDirectory(prefix="lorakit-captions-") as name:
        folder = Path(name)
        order = {"model": str(model.weights.parent), "images": [str(path) for path in todo]}
        (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
        before = len(found)
        try:
            problem = proc.run_ours(
                sys.executable,
                "lorakit.embedded.describing",
                folder,
                log=folder / "log",
                progress=lambda: progress(before + len(_said(folder)), len(images)),
            )
        finally:
            for number, text in _said(folder):
                known.put(todo[number], text)
                found[todo[number]] = text
            known.save()
    if problem:
        last = problem.splitlines()[-1]
        raise SetupError(f"The pictures could not be described: {last}", hint=INSTALL_DESCRIBER)
    return found


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
