"""Prints broken bytes, Japanese, colours, a line of a megabyte, and still trains."""

import sys

from saying import arguments, bar, lora, opening, say

output, name, steps, pause = arguments()
opening(steps)
raw = sys.stdout.buffer
raw.write(b"broken \xff\xfe\xc3 bytes\n\x1b[31mred\x1b[0m and \x1b]0;title\x07 set\n")
raw.write("学習画像の数\n".encode("cp932"))
raw.write(b"x" * 1_000_000 + b"\nafter the long line\n\x00\x01\x02\n")
raw.flush()
for step in range(1, steps + 1):
    bar(step, steps, "0.5")
    raw.write(b"\x80steps: nonsense | 3/ [\r")
    raw.flush()
lora(output / f"{name}.safetensors", steps)
say("model saved.")
