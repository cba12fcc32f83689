"""How another machine gets the lorakit that is here: the same commit, or the same release."""

import re
import shlex
from pathlib import Path

from lorakit import __version__
from lorakit.private import without_user
from lorakit.proc import ask

ROOT = Path(__file__).resolve().parents[2]


def setup_lines(trainer: str = "kohya") -> list[str]:
    """Of a shell: `source/` with .venv/bin/lorakit in it, and the trainer beside it."""
    git = ["git", "-C", str(ROOT)]
    url, commit = (
        ask([*git, *words]).out.strip()
        for words in (["remote", "get-url", "origin"], ["rev-parse", "HEAD"])
    )
    if not url or not (ROOT / "pyproject.toml").is_file():
        what = shlex.quote(f"lorakit[train]=={__version__}")
        return ["python3 -m venv source/.venv", f"source/.venv/bin/pip install {what}"]
    url = without_user(re.sub(r"^(?:ssh://)?git@([^:/]+)[:/]", r"https://\1/", url))
    targets = {"embedded": "setup", "musubi": "vendor-musubi"}
    return [
        f"[ -d source ] || git clone --quiet {shlex.quote(url)} source",
        "git -C source fetch --quiet",
        f"git -C source checkout --quiet {commit}",
        f"make -C source {targets.get(trainer, 'vendor')}",
    ]
