"""What can go wrong, and whose fault it is. Knows nothing about screens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where it stands, what it is, the nearest right answer or next
    command, and the rule that found it. `section` and `key` name the setting at fault for
    programs; `where` holds them already. `twin` is a file that the one at fault is like.
    """

    where: str
    what: str
    hint: str = ""
    rule: str = ""
    severity: Severity = "error"
    section: str = ""
    key: str = ""
    twin: str = ""

    @property
    def advice(self) -> str:
        return f"{self.what} {self.hint}".rstrip()

    def __str__(self) -> str:
        return f"{self.where}: {self.advice}"


class LorakitError(Exception):
    """Anything we can explain. Everything else is a bug of ours and ends with exit code 3."""

    exit_code = 1

    def __init__(self, message: str, *, faults: Iterable[Fault] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.faults = tuple(faults)
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(filter(None, (*map(str, self.faults), self.message, self.hint)))


class RecipeError(LorakitError):
    """The recipe, the preset or the dataset says something that cannot be right."""


class SetupError(LorakitError):
    """This machine lacks something the plan needs."""


class TrainingFailed(LorakitError):
    """The training script ended badly, or ended well without an intact LoRA."""

    exit_code = 4


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like this one; None where a guess would be wild."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'Did you mean X?', or nothing at all."""
    near = nearest(word, known)
    return f"Did you mean {near}?" if near else ""


def counted(count: int, word: str) -> str:
    """'1 image', '2 images'."""
    return f"{count} {word}{'s' * (count != 1)}"


def few(names: Sequence[str], most: int) -> str:
    """The first of many names: 'a, b, c, ...'."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def refused(where: str, what: str, hint: str = "") -> RecipeError:
    """One fault, ready to be raised."""
    return RecipeError("1 problem; nothing was started.", faults=[Fault(where, what, hint)])


def raise_on_errors(faults: Sequence[Fault]) -> None:
    """Raise one error that carries every fault; return when there are only warnings and notes."""
    count = sum(fault.severity == "error" for fault in faults)
    if count:
        raise RecipeError(f"{counted(count, 'problem')}; nothing was started.", faults=faults)
