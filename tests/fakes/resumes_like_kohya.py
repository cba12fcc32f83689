"""Counts as train_network.py does, also after a resume: a schedule restored from the state, counters that begin again, batches skipped.

Argument: train.toml, one key a line. Writes the learning rate of each true step to rates.txt beside the outputs of the whole run.
"""

import json
import sys
from pathlib import Path

from saying import bar, lora, opening, say, state, work

settings = {}
for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    key, _, value = line.partition(" = ")
    settings[key] = json.loads(value)
output, name, total = (
    Path(settings["output_dir"]),
    settings["output_name"],
    settings["max_train_steps"],
)
batches, accumulation, every = (
    settings["batches"],
    settings["gradient_accumulation_steps"],
    settings.get("save_every_n_steps"),
)
per_epoch = -(-batches // accumulation)
rates = (
    next(folder for folder in Path(sys.argv[1]).parents if (folder / "record.json").exists())
    / "output"
    / "rates.txt"
)
rates.parent.mkdir(parents=True, exist_ok=True)

schedule = 0  # steps the restored schedule has seen
if "resume" in settings:
    schedule = int((Path(settings["resume"]) / "scheduler.bin").read_text())
initial, epoch_to_start = settings.get("initial_step", 0), 0
if initial:
    assert total > initial
    if settings.get("skip_until_initial_step"):
        initial *= accumulation
        epoch_to_start = initial // per_epoch
    else:
        epoch_to_start, initial = initial // per_epoch, 0
epochs = -(-total // per_epoch)
initial -= epoch_to_start * batches if initial else 0
step = shown = initial
skip, shown = initial, 0


def save_state(folder: Path) -> None:
    state(folder, step, epoch + 1)
    (folder / "scheduler.bin").write_text(str(schedule))


opening(total, epochs)
epoch = 0
for epoch in range(epoch_to_start, epochs):
    say(f"\nepoch {epoch + 1}/{epochs}\n")
    for batch in range(batches):
        if skip:
            skip -= 1
            continue
        work(settings["pause"] / accumulation)
        if (batch + 1) % accumulation and batch + 1 < batches:
            continue
        with rates.open("a", encoding="utf-8") as file:
            file.write(f"{schedule + 1} {1 - schedule / total}\n")
        step, shown, schedule = step + 1, shown + 1, schedule + 1
        bar(shown, total - initial, f"{1 / schedule:.3g}")
        held = rates.with_name(f"held-{schedule}")
        if str(schedule) in settings["hold_at"].split(",") and not held.exists():
            held.touch()
            work(60)  # until the test stops it here
        if every and step % every == 0:
            lora(output / f"{name}-step{step:08d}.safetensors", step, epoch=epoch)
            save_state(output / f"{name}-step{step:08d}-state")
        if step >= total:
            break
    if (epoch + 1) < epochs:
        lora(output / f"{name}-{epoch + 1:06d}.safetensors", step, epoch=epoch + 1)
        save_state(output / f"{name}-{epoch + 1:06d}-state")
        picture = output / "sample" / f"{name}_e{epoch + 1:06d}_00_20260101120000_42.png"
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(b"no picture, but its name")
save_state(output / f"{name}-state")
lora(output / f"{name}.safetensors", step, epoch=epochs)
say("model saved.")
