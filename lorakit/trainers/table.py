"""Every trainer, by the name a recipe gives it. The first that a family lists is its default."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lorakit.errors import LorakitError
from lorakit.trainers.ai_toolkit import trainer as ai_toolkit
from lorakit.trainers.ai_toolkit.locate import HOME as AITK_HOME
from lorakit.trainers.base import Trainer
from lorakit.trainers.checkout import Home
from lorakit.trainers.embedded import trainer as embedded
from lorakit.trainers.kohya import trainer as kohya
from lorakit.trainers.kohya.locate import HOME as KOHYA_HOME
from lorakit.trainers.musubi import trainer as musubi
from lorakit.trainers.musubi.locate import HOME as MUSUBI_HOME

TRAINERS: Mapping[str, Trainer] = MappingProxyType(
    {"kohya": kohya, "embedded": embedded, "musubi": musubi, "ai-toolkit": ai_toolkit}
)
HOMES: tuple[Home, ...] = (
    KOHYA_HOME,
    MUSUBI_HOME,
    AITK_HOME,
)  # of those with a checkout of their own


def trainer(name: str) -> Trainer:
    if name not in TRAINERS:
        raise LorakitError(f"No trainer is called {name!r}; there are {', '.join(TRAINERS)}.")
    return TRAINERS[name]
