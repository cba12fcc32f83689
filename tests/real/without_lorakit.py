"""What `lorakit export` wrote, started by its own script where nothing of lorakit's can be imported."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def run_script(place: Path, python: Path, **env: str) -> str:
    """Both streams of `sh train.sh`, started from another folder with the trainer's own Python."""
    ban = place.parent / "no lorakit here"
    (ban / "lorakit").mkdir(parents=True)
    text = 'raise ImportError("lorakit cannot be imported here")\n'
    (ban / "lorakit" / "__init__.py").write_text(text, encoding="utf-8")
    own = {name: one for name, one in os.environ.items() if not name.startswith("LORAKIT_")} | env
    own["PATH"] = f"{python.parent}{os.pathsep}{own['PATH']}"
    own["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ban), env.get("PYTHONPATH"))))
    asked = subprocess.run(["python", "-c", "import lorakit"], env=own, capture_output=True, text=True, check=False)  # fmt: skip
    assert "lorakit cannot be imported here" in asked.stderr
    done = subprocess.run(
        ["sh", str(place / "train.sh")],
        cwd="/",
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def numbers_of(path: Path) -> bytes:
    """A file's tensors, without its header, which says when they were trained."""
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]
