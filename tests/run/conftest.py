"""No test of this room leaves a process behind, and some cannot wait for one."""

import shlex
import sys
from pathlib import Path

import pytest
from plans_by_hand import FAKES, no_orphans

from lorakit.trainers.base import Trainer

__all__ = ["no_orphans"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer that does not hear an interrupt is ended soon."""
    monkeypatch.setattr(Trainer, "PATIENCE", (0.3, 0.3))


@pytest.fixture
def python_at_once(tmp_path: Path) -> Path:
    """A Python that starts at once what accelerate's launcher would start after some seconds."""
    file = tmp_path / "python"
    words = [sys.executable, str(FAKES / "launches_at_once.py")]
    file.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    file.chmod(0o755)
    return file
