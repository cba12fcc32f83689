"""Every trainer, by the name a recipe gives it. The first that a family lists is its default."""

from collections.abc import Mapping
from functools import cache
from pkgutil import resolve_name
from types import MappingProxyType

from lorakit.errors import LorakitError
from lorakit.trainers.base import Trainer

TRAINERS: Mapping[str, str] = MappingProxyType(
    {
        "kohya": "lorakit.trainers.kohya.trainer:Kohya",
        "embedded": "lorakit.trainers.embedded.trainer:Embedded",
        "musubi": "lorakit.trainers.musubi.trainer:Musubi",
        "ai-toolkit": "lorakit.trainers.ai_toolkit.trainer:AiToolkit",
    }
)


def trainer(name: str) -> Trainer:
    """Imported now: a plan pays for its own trainer alone."""
    if name not in TRAINERS:
        raise LorakitError(f"No trainer is called {name!r}; there are {', '.join(TRAINERS)}.")
    return _made(TRAINERS[name])


@cache
def _made(place: str) -> Trainer:
    found: Trainer = resolve_name(place)()
    return found
