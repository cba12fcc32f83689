"""Train a LoRA for SD1.5: `accelerate launch THIS --config_file FILE --dataset_config FILE`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # instead of this folder, which Python puts first; lorakit may not be installed
    sys.path[0] = str(Path(__file__).resolve().parents[2])

    from lorakit.embedded.main import leave, main

    leave(main("sd15"))
