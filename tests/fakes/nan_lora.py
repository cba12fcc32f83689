"""Goes on training with a NaN loss and saves a NaN LoRA, as sd-scripts does; with QUIET the loss is not printed."""

import math
import os

from saying import arguments, bar, lora, opening, work

output, name, steps, pause = arguments()
opening(steps)
for step in range(1, steps + 1):
    work(pause)
    if not os.environ.get("QUIET"):
        bar(step, steps, "0.5" if step < 3 else "nan")
lora(output / f"{name}.safetensors", steps, math.nan)
