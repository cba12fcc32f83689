"""What a pool of workers is asked to do; each of them imports this file, so it imports little."""

import os
from pathlib import Path


def die_on_four(path: Path) -> str:
    if path.name == "4":
        os._exit(9)
    return "fine"
