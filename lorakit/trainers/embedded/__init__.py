"""The contract of our own trainer. What trains is lorakit/embedded; nothing here imports torch."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lorakit.families import FAMILIES

HERE = Path(__file__).parents[2] / "embedded"

SCRIPTS: Mapping[str, Path] = MappingProxyType(
    {name: HERE / one.script for name, one in FAMILIES.items() if "embedded" in one.trainers}
)

EXIT_NAN = 5  # the loss or a gradient was not finite; the last good checkpoint is kept
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
