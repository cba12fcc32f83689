"""What can go wrong, and whose fault it is. Knows nothing about screens or exit paths beyond the
code each kind ends with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where it stands, what it is, the nearest right answer or next
    command, and the rule that found it.
    """

    where: str
    what: str
    hint: str = ""
    rule: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" {self.hint}" if self.hint else "")


class LorakitError(Exception):
    """Anything we can explain. Everything else is a bug of ours and ends with exit code 3."""

    exit_code = 1

    def __init__(self, message: str, *, faults: Iterable[Fault] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.faults = tuple(faults)
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(
            [*map(str, self.faults), self.message, *([self.hint] if self.hint else [])]
        )


class RecipeError(LorakitError):
    """The recipe, the preset or the dataset says something that cannot be right."""


class SetupError(LorakitError):
    """This machine lacks something the plan needs."""


class TrainingFailed(LorakitError):
    """The training script ended badly, or ended well without a whole LoRA."""

    exit_code = 4


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'Did you mean X?' with the nearest known word, or nothing at all: a wild guess is worse than
    none.
    """
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""


def counted(count: int, word: str) -> str:
    """'1 image', '2 images'."""
    return f"{count} {word}{'s' * (count != 1)}"


def refused(where: str, what: str, hint: str = "") -> RecipeError:
    """One fault, ready to be raised."""
    return RecipeError("1 problem; nothing was started.", faults=[Fault(where, what, hint)])


def raise_on_errors(faults: Sequence[Fault], *, kind: type[LorakitError] = RecipeError) -> None:
    """Raise one error that carries every fault, or return when there are only warnings and notes."""
    count = sum(fault.severity == "error" for fault in faults)
    if count:
        raise kind(f"{counted(count, 'problem')}; nothing was started.", faults=faults)
