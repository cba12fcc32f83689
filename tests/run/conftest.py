"""No test of this room leaves a process behind, and some cannot wait for one."""

import pytest
from plans_by_hand import no_orphans

from lorakit.trainers.base import Trainer

__all__ = ["no_orphans"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer that does not hear an interrupt is ended soon."""
    monkeypatch.setattr(Trainer, "PATIENCE", (0.3, 0.3))
