"""Stand-in for musubi-tuner's training: it reads the caches and never the pictures, and counts from 0 after a resume. What it trained on goes to trained.txt beside its outputs.

`PAUSE` in the environment: seconds a step. `DIE_AFTER`: the process is gone after so many updates. A rate above 1 makes NaN, and exit code 0.
"""

import importlib
import os
import signal
import sys
from pathlib import Path

import toml

sys.path.insert(0, str(Path(__file__).parents[3]))

from caching import tables
from saying import bar, lora, opening, say, state, work

settings = toml.load(sys.argv[sys.argv.index("--config_file") + 1])
output, name, total = (
    Path(settings["output_dir"]),
    settings["output_name"],
    settings["max_train_steps"],
)
if not Path(settings["dit"]).is_file():
    raise FileNotFoundError(settings["dit"])
items = []
for table in tables(settings["dataset_config"]):
    folder = Path(table["cache_directory"])
    latents = sorted(set(folder.glob("*.safetensors")) - set(folder.glob("*_te.safetensors")))
    texts = [folder / f"{path.name.rsplit('_', 2)[0]}_zi_te.safetensors" for path in latents]
    items += [text.read_text(encoding="utf-8") for text in texts if text.is_file()] * table[
        "num_repeats"
    ]
if not items:
    raise ValueError("No training items found in the dataset")
if settings.get("max_train_epochs"):
    total = settings["max_train_epochs"] * len(items)
if kind := settings.get("lr_scheduler_type"):
    module, _, function = kind.rpartition(".")
    assert callable(getattr(importlib.import_module(module), function))
output.mkdir(parents=True, exist_ok=True)
bad = settings["learning_rate"] > 1
pause, last = float(os.environ.get("PAUSE", "0")), int(os.environ.get("DIE_AFTER", "0"))


def save(stem: str, epoch: int) -> None:
    lora(output / f"{stem}.safetensors", step, float("nan") if bad else 0.25, epoch, {"ss_max_train_steps": str(total)})  # fmt: skip


def save_state(stem: str) -> None:
    if settings.get("save_state"):
        place = output / f"{stem}-state"
        state(place, step)
        (place / "train_state.json").unlink()  # it has none
        (place / "random_states_0.pkl").write_bytes(b"random states")


epochs, step = -(-total // len(items)), 0
opening(total, epochs)
by_step, by_epoch = settings.get("save_every_n_steps"), settings.get("save_every_n_epochs")
for epoch in range(epochs):
    say(f"\nepoch {epoch + 1}/{epochs}\n")
    for caption in items:
        work(pause)
        step += 1
        bar(step, total, "nan" if bad else f"{1 / step:.3g}")
        with (output / "trained.txt").open("a", encoding="utf-8") as file:
            file.write(f"{caption}\n")
        if by_step and step % by_step == 0:
            save(f"{name}-step{step:08d}", epoch)
            save_state(f"{name}-step{step:08d}")
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        if step >= total:
            break
    if by_epoch and (epoch + 1) % by_epoch == 0 and epoch + 1 < epochs:
        save(f"{name}-{epoch + 1:06d}", epoch + 1)
        save_state(f"{name}-{epoch + 1:06d}")
save_state(name)
save(name, epochs)
say("model saved.")
