"""Runs inside ai-toolkit's own Python: does its loader take each file, and does it know every key that stands in it? It would ignore one that it does not know.

PYTHON ai_toolkit_load_probe.py CHECKOUT CASES.json     (prints one JSON object: name -> "" or what is wrong)
"""

import contextlib
import json
import os
import sys
from pathlib import Path

checkout, cases = sys.argv[1:3]
sys.path.insert(0, checkout)
os.chdir(Path(cases).parent)

from toolkit.job import get_job  # noqa: E402

BLOCKS = {
    "network": "network_config",
    "save": "save_config",
    "train": "train_config",
    "model": "model_config",
    "sample": "sample_config",
    "logging": "logging_config",
}
# Read under these names, and kept under others.
READ = {"sample.format"}


def said_to(config):
    job = get_job(config)
    process = job.process[0]
    told = job.raw_config["config"]["process"][0]
    pairs = [(name, told[name], getattr(process, kept)) for name, kept in BLOCKS.items()]
    pairs += [
        ("datasets", one, kept)
        for one, kept in zip(told["datasets"], process.dataset_configs, strict=True)
    ]
    odd = [
        f"{name}.{key}"
        for name, block, kept in pairs
        for key in block
        if not hasattr(kept, key) and f"{name}.{key}" not in READ
    ]
    return f"unknown: {odd}" if odd else ""


answers = {}
with contextlib.redirect_stdout(sys.stderr):
    for name, (_, config) in json.loads(Path(cases).read_text(encoding="utf-8")).items():
        try:
            answers[name] = said_to(config)
        except BaseException as error:  # noqa: BLE001  (whatever it says is the answer)
            answers[name] = f"{type(error).__name__}: {error}"
print(json.dumps(answers))
