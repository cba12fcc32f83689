"""What a script would find in the hub's cache on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from lorakit.config import home


def is_cached(name: str) -> bool:
    """Whether some snapshot of this repository is there."""
    hub = Path(
        os.environ.get("HF_HUB_CACHE")
        or Path(os.environ.get("HF_HOME") or home() / ".cache/huggingface") / "hub"
    )
    return (hub / f"models--{name.replace('/', '--')}" / "snapshots").is_dir()
