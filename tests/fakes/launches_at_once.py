"""A trainer's Python that is there at once: what it is to start through accelerate's launcher, it becomes. Seconds less a start, and one core: others work beside it."""

import os
import sys

words = sys.argv[1:]
if words[:2] == ["-m", "accelerate.commands.launch"]:
    words = words[next(number for number, word in enumerate(words) if word.endswith(".py")) :]
os.execve(sys.executable, [sys.executable, *words], {**os.environ, "OMP_NUM_THREADS": "1"})
