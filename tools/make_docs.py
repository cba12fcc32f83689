"""Rewrite the generated parts of README.md: the list of commands, and one recipe with faults as `lorakit plan` tells them.

    python tools/make_docs.py [--check]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
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
    parser.add_argument("--check", action="store_true", help="exit 1 where the file is not up to date")
    args = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    fresh = filled(filled(text, "help", said("lorakit", "--help")), "faults", faults())
    if args.check:
        return int(fresh != text)
    README.write_text(fresh, encoding="utf-8")
    return 0


def filled(text: str, name: str, content: str) -> str:
    block = f"<!-- {name}:begin -->\n```\n{content.strip()}\n```\n<!-- {name}:end -->"
    return re.sub(rf"<!-- {name}:begin -->.*?<!-- {name}:end -->", lambda _: block, text, flags=re.DOTALL)


def said(*words: str, folder: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"})
    return done.stdout + done.stderr


def faults() -> str:
    """Only what the settings say: whether files exist is another matter, and this machine's own."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipes" / "maya.toml"
        recipe.parent.mkdir()
        recipe.write_text(FAULTY, encoding="utf-8")
        lines = said("lorakit", "plan", "recipes/maya.toml", folder=Path(folder)).splitlines()
    told = [line for line in lines if line.startswith("error: recipes/maya.toml:") and "[train]" in line]
    return "\n".join(["$ lorakit plan recipes/maya.toml", *told])


if __name__ == "__main__":
    sys.exit(main())
