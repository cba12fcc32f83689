"""Every change of captions, one step a line in `.lorakit`, and the way back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorakit.dataset.captions.edit import Change
from lorakit.dataset.captions.read import caption_text
from lorakit.dataset.rules import shown
from lorakit.errors import Fault, RecipeError
from lorakit.files import write_atomic
from lorakit.journal import Journal, now


class History:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = Journal(root / ".lorakit" / "captions.jsonl")

    def apply(self, what: str, found: Sequence[Change]) -> None:
        """Log the step, then write the captions."""
        if found:
            self.record(what, found)
        for change in found:
            write_atomic(change.path, change.after + "\n")

    def record(self, what: str, found: Sequence[Change]) -> None:
        """Log a step whose captions are written already, or are about to be."""
        names = [change.path.relative_to(self.root).as_posix() for change in found]
        pairs = zip(names, found, strict=True)
        changes = [[name, change.before, change.after] for name, change in pairs]
        self._log({"what": what, "changes": changes})

    def undo(self) -> tuple[str, int, list[Fault]]:
        """Take the last step back. A caption that was edited since is left alone and named."""
        steps = self.journal.read()
        undone = {step["undoes"] for step in steps if "undoes" in step}
        left = [i for i, step in enumerate(steps) if i not in undone and "undoes" not in step]
        if not left:
            raise RecipeError(f"{self.root}: no caption step is left to undo.")
        step = steps[left[-1]]
        back: list[tuple[Path, str | None]] = []
        faults = []
        for name, before, after in step["changes"]:
            path = self.root / name
            try:
                now_there = caption_text(path)
                untouched = now_there in {before, after}
            except RecipeError:
                untouched = False  # rewritten by somebody, in another encoding
            if not untouched:
                what = "edited since; left as it is."
                faults.append(Fault(shown(path), what, "", "caption-edited", "warning"))
            elif now_there == after:
                back.append((path, before))
        self._log({"what": "undo", "undoes": left[-1], "changes": []})
        for path, before in back:
            if before is None:
                path.unlink(missing_ok=True)  # made by lorakit, and touched by nobody since
            else:
                write_atomic(path, before + "\n")
        return str(step["what"]), len(back), faults

    def _log(self, step: dict[str, Any]) -> None:
        self.journal.rewrite([*self.journal.read(), {"when": now(), **step}])
