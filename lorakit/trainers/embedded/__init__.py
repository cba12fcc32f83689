"""Our own small kohya-compatible train script. The only rooms that import torch; this file does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

HERE = Path(__file__).parent

SCRIPTS: Mapping[str, Path] = MappingProxyType({
    "sd15": HERE / "train_network.py",
    "sdxl": HERE / "sdxl_train_network.py",
    "flux": HERE / "flux_train_network.py",
})

EXIT_NAN = 5                     # the loss or a gradient was not finite; the last good checkpoint is kept
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
