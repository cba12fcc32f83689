"""Every trainer, by the name a recipe gives it. The first that a family lists is its default."""

from collections.abc import Mapping
from types import MappingProxyType

from lorakit.errors import LorakitError
from lorakit.trainers.ai_toolkit.trainer import AiToolkit
from lorakit.trainers.base import Trainer
from lorakit.trainers.checkout import CheckoutTrainer
from lorakit.trainers.embedded.trainer import Embedded
from lorakit.trainers.kohya.trainer import Kohya
from lorakit.trainers.musubi.trainer import Musubi

TRAINERS: Mapping[str, Trainer] = MappingProxyType(
    {"kohya": Kohya(), "embedded": Embedded(), "musubi": Musubi(), "ai-toolkit": AiToolkit()}
)
HOMES = tuple(one.HOME for one in TRAINERS.values() if isinstance(one, CheckoutTrainer))


def trainer(name: str) -> Trainer:
    if name not in TRAINERS:
        raise LorakitError(f"No trainer is called {name!r}; there are {', '.join(TRAINERS)}.")
    return TRAINERS[name]
