"""One child process with torch that carries out an order; it never outlives the call."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lorakit
from lorakit import proc
from lorakit.errors import SetupError
from lorakit.files import write_atomic

PACKAGE = Path(lorakit.__file__).parent


def run_torch(
    module: str,
    order: Mapping[str, Any],
    log: Path,
    python: str,
    *,
    what: str,
    otherwise: str = "",
    progress: Callable[[], object],
) -> None:
    """`what` could not be made where it fails; `otherwise` is what can be done without torch. The
    order lies beside the child's log.
    """
    path = log.with_name("order.json" if log.stem == "draw" else f"{log.stem}-order.json")
    write_atomic(path, json.dumps(order, indent=1))
    write_atomic(log, "")
    paths = filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")))
    # The machine may be busy: threads sleep while waiting.
    env = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        child = proc.start([python, "-m", module, str(path)], cwd=log.parent, env=env, log=log)
    except OSError as error:
        raise SetupError(
            f"{python}: {error.strerror}.", hint="--python FILE names a Python with torch."
        ) from error
    try:
        while child.poll() is None:
            time.sleep(0.1)
            progress()
    finally:
        if child.poll() is None:
            child.kill()
    if not child.returncode:
        return
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    if "No module named 'torch'" in text:
        raise SetupError(
            f"{python} has no torch to make {what} with.",
            hint=f"pip install 'lorakit[train]'. {otherwise}".rstrip(),
        )
    # what we can explain is a sentence and a hint, a line each
    kept = 1 if "Traceback" in text else 2
    last = " ".join(text.splitlines()[-kept:]) or f"exit code {child.returncode}"
    raise SetupError(
        f"The {what} could not be made: {last}", hint=f"Its output: {log}. {otherwise}".rstrip()
    )
