"""Our own trainer as a `Trainer`."""

from pathlib import Path

from lorakit import __version__
from lorakit.families import FAMILIES
from lorakit.trainers.base import CodeChange, Script, Trainer
from lorakit.trainers.embedded import SCRIPTS, rules
from lorakit.trainers.progress import EmbeddedEvents, Reader


class Embedded(Trainer):
    """It prints sd-scripts' lines, too. Its tokenizers are lorakit's, or beside the weights."""

    TITLE = "the embedded trainer"
    PATIENCE = (120.0, 20.0)  # after an interrupt it ends its step and saves
    SAVES_WHEN_INTERRUPTED = True
    DRAWS_SHEETS = True
    RESUMES_EXACTLY = True
    STARTS_ALONE = True
    check = staticmethod(rules.check)

    def find(self, family: str) -> Script:
        own = SCRIPTS.get(family)
        return Script(own or Path(FAMILIES[family].script), found=own is not None)

    def event_reader(self) -> Reader:
        return EmbeddedEvents()

    def changed_since(self, _script: Path, _commit: str, lorakit: str) -> CodeChange | None:
        if lorakit == __version__:
            return None
        return CodeChange("lorakit, whose trainer it is", lorakit or None, __version__)
