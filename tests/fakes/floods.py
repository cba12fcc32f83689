"""Says more than 100 MB, a bar redrawn over and over, and still trains."""

import sys

from saying import arguments, bar, lora, opening

output, name, steps, pause = arguments()
opening(steps)
frame = b"\rcaching latents:  50%|" + b"#" * 100 + b"| 5/10 [00:01<00:01,  5.00it/s]"
for step in range(1, steps + 1):
    for _ in range(8):
        sys.stdout.buffer.write(frame * (105_000_000 // 8 // steps // len(frame) + 1))
    sys.stdout.buffer.flush()
    bar(step, steps, "0.5")
lora(output / f"{name}.safetensors", steps)
