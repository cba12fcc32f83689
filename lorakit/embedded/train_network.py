"""Train a LoRA for SD1.5: `accelerate launch THIS --config_file train.toml --dataset_config
dataset.toml`.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    # Python puts this folder first; its modules are lorakit's, not top-level ones, and lorakit may
    # lie beside it uninstalled.
    sys.path[:] = [
        str(here.parents[1]),
        *(entry for entry in sys.path if not entry or Path(entry).resolve() != here),
    ]

    from lorakit.embedded.main import leave, main

    leave(main("sd15"))
