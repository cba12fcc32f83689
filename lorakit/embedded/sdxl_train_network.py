"""Train a LoRA for SDXL: `accelerate launch THIS --config_file FILE --dataset_config FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    # not this folder, which Python puts first; lorakit may not be installed
    others = (entry for entry in sys.path if not entry or Path(entry).resolve() != here)
    sys.path[:] = [str(here.parents[1]), *others]

    from lorakit.embedded.main import leave, main

    leave(main("sdxl"))
