"""One child process with torch that carries out an order; it never outlives the call."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lorakit
from lorakit import proc
from lorakit.errors import SetupError
from lorakit.files import write_atomic

PACKAGE = Path(lorakit.__file__).parent


@dataclass(frozen=True)
class TorchJob:
    """`what` could not be made where it fails; `otherwise` is what can be done without torch."""

    module: str
    verb: str  # order.json is the drawing's, draw.log what it said
    what: str
    otherwise: str = ""

    def run(
        self,
        order: Mapping[str, Any],
        folder: Path,
        python: str,
        progress: Callable[[], object] = lambda: None,
    ) -> None:
        path = folder / ("order.json" if self.verb == "draw" else f"{self.verb}-order.json")
        log = folder / f"{self.verb}.log"
        write_atomic(path, json.dumps(order, indent=1))
        write_atomic(log, "")
        paths = filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")))
        # The machine may be busy: threads sleep while waiting.
        env = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        command = [python, "-m", self.module, str(path)]
        try:
            child = proc.start(command, cwd=folder, env=env, log=log)
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
        if child.returncode:
            raise self._failure(log, python, child.returncode)

    def _failure(self, log: Path, python: str, code: int) -> SetupError:
        text = log.read_text(encoding="utf-8", errors="replace").strip()
        if "No module named 'torch'" in text:
            return SetupError(
                f"{python} has no torch to make {self.what} with.",
                hint=f"pip install 'lorakit[train]'. {self.otherwise}".rstrip(),
            )
        # what we can explain is a sentence and a hint, a line each
        kept = 1 if "Traceback" in text else 2
        last = " ".join(text.splitlines()[-kept:]) or f"exit code {code}"
        return SetupError(
            f"The {self.what} could not be made: {last}",
            hint=f"Its output: {log}. {self.otherwise}".rstrip(),
        )
