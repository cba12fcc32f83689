"""A run as a training leaves it, and a Python that answers an order with made-up losses and pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorakit.weights.safetensors import write

PROGRAM = """#!{python}
import json, math, sys
from pathlib import Path
order = json.loads(Path(sys.argv[3]).read_text())
gains = json.loads(Path({gains!r}).read_text())
if "columns" in order:  # pictures of one colour; a LoRA moves it, or says which
    from PIL import Image
    for column in order["columns"][: gains.get("columns", 99)]:
        moved = [(gains["moves"][Path(lora).stem], by) for lora, by in column["loras"]]
        for job in column["pictures"]:
            asked = "maya" in job["prompt"]
            colour = [30 + 40 * (job["seed"] % 3), 200, 200 if asked else 100]
            for (own, other), by in moved:
                if not isinstance(own, list):
                    colour[1] -= round(by * (own if asked else other))
                elif asked:
                    colour = own
            if not Path(job["file"]).exists():
                Image.new("RGB", (64, 64), tuple(colour)).save(job["file"])
    sys.exit()
with open({log!r}, "a") as log:
    log.write(json.dumps([cell["cell"] for cell in order["cells"]]) + "\\n")
results = Path(order["results"])
lines = results.read_text()
Path(order["drawn_file"]).write_bytes(b"drawn")
base = {{kind: [[0.2, 0.4, 0.4]] * len(order[kind]) for kind in ("held", "train")}}
with results.open("a") as out:
    if '"base"' not in lines:
        out.write(json.dumps({{"cell": "base", **base, "drawn": [[0.0]] * len(order["drawn"])}}) + "\\n")
    for cell in order["cells"][: gains.get("most", 99)]:
        gain = gains[Path(cell["lora"]).stem] + abs(cell["strength"] - 1) / 4
        losses = lambda n: [[0.2 * math.exp(gain + w / 100), 0.4 * math.exp(gain), 0.4 * math.exp(gain)] for w in range(n)]
        found = {{kind: losses(len(order[kind])) for kind in cell["kinds"] if kind != "drawn"}}
        out.write(json.dumps({{"cell": cell["cell"], **found, "drawn": [[cell["strength"] / 10]] * 3}}) + "\\n")
"""


@pytest.fixture
def judged_run(tmp_path: Path) -> Path:
    """Twelve pictures, a quarter of them held out; two checkpoints."""
    run_dir = tmp_path / "runs" / "maya" / "20260101-120000"
    (run_dir / "output").mkdir(parents=True)
    data = tmp_path / "datasets" / "8_maya"
    data.mkdir(parents=True)
    for number in range(12):
        Image.new("RGB", (64, 64), (20 * number, 90, 40)).save(data / f"{number:02d}.png")
        (data / f"{number:02d}.txt").write_text(f"maya, number {number}\n")
    (run_dir / "train.toml").write_text(
        f'pretrained_model_name_or_path = "{tmp_path}/base"\noutput_name = "maya"\nresolution = "64"\n'
    )
    (run_dir / "dataset.toml").write_text(
        "[[datasets]]\nresolution = [64, 64]\nbatch_size = 2\nenable_bucket = false\n"
        "validation_split = 0.25\nvalidation_seed = 7\n\n[[datasets.subsets]]\n"
        f'image_dir = "{data}"\nnum_repeats = 8\ncaption_extension = ".txt"\n'
    )
    (run_dir / "prompts.toml").write_text(
        '[[prompt.subset]]\nprompt = "maya, portrait"\n[[prompt.subset]]\nprompt = "a red car"\nsample_steps = 9\n'
    )
    (run_dir / "record.json").write_text(
        json.dumps(
            {
                "schema": 1,
                "state": "done",
                "name": "maya",
                "run": "maya/20260101-120000",
                "trigger": "maya",
                "family": "sd15",
                "output_name": "maya",
                "trainer": {"name": "embedded"},
                "outcome": {"seconds_a_step": 0.6},
                "steps": {"batch_size": 2},
            }
        )
    )
    for name, byte in (("maya-000002", 1), ("maya", 2)):
        tensors = {"a.lora_up.weight": ("F32", (1,))}
        write(run_dir / "output" / f"{name}.safetensors", tensors, {}, [bytes([byte] * 4)])
    return run_dir


@pytest.fixture
def measurer(tmp_path: Path) -> Any:
    """Makes a Python for `--python`; what each checkpoint gains over the base at strength 1 is said."""

    def make(**gains: Any) -> str:
        (tmp_path / "gains.json").write_text(
            json.dumps({name.replace("_", "-"): gain for name, gain in gains.items()})
        )
        program = tmp_path / "measurer"
        program.write_text(
            PROGRAM.format(
                python=sys.executable,
                log=str(tmp_path / "asked"),
                gains=str(tmp_path / "gains.json"),
            )
        )
        program.chmod(0o755)
        return str(program)

    return make
