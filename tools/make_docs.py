"""Rewrite what is generated: docs/failures.md, the table of docs/trainers.md, and in README.md the
commands and the faults that `lorakit plan` reports about a bad recipe.

examples:
    python tools/make_docs.py [--check]
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trainers_table import table

from lorakit import tomllib
from lorakit.events import Event
from lorakit.run.watch.alarms import Alarms

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
FAILURES = ROOT / "docs" / "failures.md"
TRAINERS = ROOT / "docs" / "trainers.md"
TEXTS = ROOT / "tests" / "run" / "failures.toml"
GROUPS = {
    "Memory": ("gpu-memory", "mps-memory", "host-memory", "killed", "shared-memory", "worker-died"),
    "Not a number": ("nan", "latents-nan"),
    "Disk": ("disk-full", "read-only"),
    "Weights and files": (
        "model-missing",
        "model-broken",
        "wrong-model",
        "fp8-kind",
        "missing-file",
        "tokenizer",
        "gated",
    ),
    "Images and captions": (
        "no-images",
        "bad-image",
        "tiny-image",
        "image-size",
        "caption-encoding",
        "caption-empty",
        "cache-broken",
        "cache-mismatch",
    ),
    "Packages": (
        "missing-bitsandbytes",
        "missing-xformers",
        "missing-package",
        "network-module",
        "console-encoding",
        "crash",
    ),
    "Devices": (
        "mps-fp16",
        "mps-bf16",
        "mps-operator",
        "mps-validation",
        "cpu-fp16",
        "no-cuda",
        "cuda-error",
    ),
    "Several processes and machines": (
        "port",
        "machines-apart",
        "states-apart",
        "process-killed",
        "peer",
    ),
    "Settings": (
        "precision-name",
        "full-precision",
        "optimizer-name",
        "scheduler-name",
        "warmup",
        "min-lr",
        "workers-option",
        "te-cache",
        "latent-cache",
        "block-swap",
        "bucket-step",
        "bucket-range",
        "sample-prompts",
        "resume-past-end",
        "unknown-option",
        "bad-config",
        "refused",
    ),
    "Everything else": ("interrupted", "unknown"),
}
INTRO = """# What lorakit says when a training fails

Made by `make docs` from [tests/run/failures.toml](../tests/run/failures.toml), which the tests read
too: what programs print, and what lorakit calls it. *Beforehand* is the rule by which `lorakit
plan` (and so `lorakit train`) catches the same mistake before anything starts, so that most of
these failures never happen. A star marks evidence that was quoted from others, because it needs a
card, a Mac or a model that we did not have.

`lorakit explain RUN` shows cause, evidence and remedy of any run; `--json` gives the same with the
name of the rule.
"""
ALARMS = """
## While a run goes on

Each is reported once, by `lorakit train` and `lorakit watch`, and written into the record.

| name | when | example |
|---|---|---|
"""
FAULTY = """preset  = "sdxl"
name    = "maya"
trigger = "maya_char"
[model]
base = "models/base.safetensors"
[dataset]
path = "datasets/maya"
[train]
netwrok_dim = 16
mixed_precision = "bf61"
max_train_epochs = "8"
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if a file is out of date")
    args = parser.parse_args()
    readme = README.read_text(encoding="utf-8")
    fresh = {
        README: filled(
            filled(readme, "help", fenced(said("lorakit", "--help"))), "faults", fenced(faults())
        ),
        TRAINERS: filled(TRAINERS.read_text(encoding="utf-8"), "trainers", table()),
        FAILURES: failures(),
    }
    stale = [
        path
        for path, text in fresh.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    if args.check:
        return int(bool(stale))
    for path in stale:
        path.write_text(fresh[path], encoding="utf-8")
    return 0


def failures() -> str:
    """The table, group by group; every failure once, with its first text."""
    texts = tomllib.loads(TEXTS.read_text(encoding="utf-8"))["failure"]
    first = {text["rule"]: text for text in reversed(texts)}
    lines = [INTRO]
    for title, rules in GROUPS.items():
        lines += [
            f"\n## {title}\n",
            "| name | evidence | cause | remedy | beforehand |",
            "|---|---|---|---|---|",
        ]
        for rule in rules:
            text = first.pop(rule)
            seen = "" if text["how"] != "quoted" else " *"
            cells = (
                rule,
                code(text["evidence"]) + seen,
                cell(text["cause"]),
                code(text["remedy"]),
                text.get("plan", "-"),
            )
            lines.append(f"| {' | '.join(cells)} |")
    assert not first, f"in no group: {', '.join(first)}"
    return "\n".join(lines) + "\n" + ALARMS + "\n".join(alarms()) + "\n"


def code(text: str) -> str:
    """As code, short enough for a table."""
    short = re.sub(r"\s+", " ", text if len(text) <= 150 else f"{text[:147]}...")
    return f"`{cell(short)}`" if short else "-"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")


def alarms() -> Iterator[str]:
    """What the alarms really say about made-up runs."""
    flat, falling = [0.1] * 60, [0.2 - step / 9000 for step in range(900)]
    told = {
        "nan": ("the loss is NaN", fed([0.1, math.nan])),
        "explosion": (
            "the mean of ten steps is 2.5 times the median of the first fifty",
            fed([*flat, *[0.5] * 10]),
        ),
        "plateau": (
            "half-way (after 500 steps at least) the loss has not fallen",
            fed([0.12 + step / 1e5 for step in range(1200)]),
        ),
        "overfit": (
            "validation rose three times in a row while training fell",
            fed(falling, validate=True),
        ),
        "slow": (
            "ten steps take 2.5 times as long as the first fifty",
            fed([0.1] * 70, slow_from=55),
        ),
        "disk": (
            "less is free than the next checkpoint needs",
            Alarms(9).disk(120 << 20, 450 << 20),
        ),
    }
    for name, (when, events) in told.items():
        yield f"| {name} | {when} | {cell(events[0].text or '')} |"


def fed(losses: list[float], *, validate: bool = False, slow_from: int = 10**9) -> list[Event]:
    watch, found = Alarms(len(losses)), list[Event]()
    for step, loss in enumerate(losses, 1):
        found += watch.step(Event("step", step, loss=loss), 4.0 if step > slow_from else 1.0)
        if validate and step % 200 == 0:
            found += watch.validation(Event("validation", step, loss=0.1 + step / 5000))
    return found


def filled(text: str, name: str, content: str) -> str:
    block = f"<!-- {name}:begin -->\n{content}\n<!-- {name}:end -->"
    return re.sub(
        rf"<!-- {name}:begin -->.*?<!-- {name}:end -->", lambda _: block, text, flags=re.DOTALL
    )


def fenced(content: str) -> str:
    return f"```\n{content.strip()}\n```"


def said(*words: str, folder: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
    )
    return done.stdout + done.stderr


def faults() -> str:
    """Only what the settings say: whether files exist is another matter, and this machine's own."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipes" / "maya.toml"
        recipe.parent.mkdir()
        recipe.write_text(FAULTY, encoding="utf-8")
        lines = said("lorakit", "plan", "recipes/maya.toml", folder=Path(folder)).splitlines()
    told = [
        line for line in lines if line.startswith("error: recipes/maya.toml:") and "[train]" in line
    ]
    return "\n".join(["$ lorakit plan recipes/maya.toml", *told])


if __name__ == "__main__":
    sys.exit(main())
