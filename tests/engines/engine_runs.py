"""What a run of a point leaves, by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

MakeSweep = Callable[..., Path]


def left_run(root: Path, name: str, *, losses: tuple[float, ...] = (), **more: Any) -> Path:
    """What a run of a point leaves, by hand: a record and its losses."""
    run = root / "runs" / name / "20260101-120000"
    run.mkdir(parents=True)
    record = {
        "schema": 1,
        "name": name,
        "state": "done",
        "steps": {"total": len(losses) or 100},
        "outcome": {
            "step": len(losses) or 100,
            "total": 100,
            "loss": losses[-1] if losses else 0.1,
        },
    }
    (run / "record.json").write_text(json.dumps({**record, **more}))
    rows = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    (run / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run
