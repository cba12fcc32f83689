"""Trains as sd-scripts does, checkpoints every other step when SAVE_EVERY is set, and ends well. LOSS is the loss it prints,
VALIDATION that of the validation at its end.
"""

import os

from saying import arguments, bar, lora, opening, say, state, work

output, name, steps, pause = arguments()
opening(steps)
say("\nepoch 1/1\n")
every = int(os.environ.get("SAVE_EVERY", "0"))
for step in range(1, steps + 1):
    work(pause)
    bar(step, steps, os.environ.get("LOSS") or f"{1 / step:.3g}")
    if every and step % every == 0:
        lora(output / f"{name}-step{step:08d}.safetensors", step, epoch=0)
        if os.environ.get("SAVE_STATE"):
            state(output / f"{name}-step{step:08d}-state", step)
if held_back := os.environ.get("VALIDATION"):
    say(
        f"\nepoch validation steps: 100%|██████████| 4/4 [00:01<00:00,  2.0it/s, val_epoch_avg_loss={held_back}, timestep=800]"
    )
lora(output / f"{name}.safetensors", steps, metadata={"ss_max_train_steps": str(steps)})
say("model saved.")
