"""Like the embedded trainer: JSON events, finishes its step and saves at SIGINT (130) or SIGTERM (143), resumes with --resume STATE.

With SAVE_EVERY it saves its state that often, too.
"""

import os
import signal
import sys
from pathlib import Path

from saying import arguments, event, lora, opening, state, work

asked: list[int] = []
signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
resume = Path(sys.argv.pop()) if "--resume" in sys.argv else None
if resume:
    sys.argv.remove("--resume")
output, name, steps, pause = arguments()
every = int(os.environ.get("SAVE_EVERY", "0"))
first = int(resume.name.partition("-step")[2][:8]) if resume else 0
opening(steps)
event(event="phase", phase="training")
for step in range(first + 1, steps + 1):
    work(pause)
    event(event="step", step=step, total=steps, epoch=1, epochs=1, loss=1 / step, lr=1e-4)
    if asked:
        lora(output / f"{name}.safetensors", step)
        state(output / f"{name}-step{step:08d}-state", step)
        event(event="saved", step=step, path=str(output / f"{name}.safetensors"))
        event(
            event="end",
            step=step,
            reason="interrupted" if asked[0] == signal.SIGINT else "terminated",
        )
        sys.exit(128 + asked[0])
    if every and step % every == 0:
        state(output / f"{name}-step{step:08d}-state", step)
lora(output / f"{name}.safetensors", steps)
event(event="saved", step=steps, path=str(output / f"{name}.safetensors"))
event(event="end", step=steps, reason="done")
