"""Events as JSON lines for whoever follows the run, in the file that LORAKIT_EVENTS names."""

from __future__ import annotations

import json
import os
import time
from typing import Any


def emit(event: str, **facts: Any) -> None:
    """Only the first process of each machine writes. A full disk must not end a training."""
    path = os.environ.get("LORAKIT_EVENTS")
    if not path or os.environ.get("LOCAL_RANK", "0") != "0":
        return
    line = json.dumps({"event": event, "time": round(time.time(), 3), **facts}) + "\n"
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line)
    except OSError:
        return
