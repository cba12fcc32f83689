"""A question to whoever sits at the terminal; where nobody does, the answer is no."""

from __future__ import annotations

import sys

from lorakit.show import say


def agrees(question: str) -> bool | None:
    """Yes or no; None where there is nobody to ask."""
    said = answer(f"{question} [y/N]")
    return None if said is None else said.strip().lower() in {"y", "yes"}


def answer(question: str) -> str | None:
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    say(question)
    return sys.stdin.readline()
