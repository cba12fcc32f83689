"""The manifest of `dataset prepare`: which prepared file came from which original, with which settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = ".lorakit"


def manifest_path(root: Path) -> Path:
    return root / FOLDER / "prepared.json"


def read_manifest(root: Path) -> dict[str, Any]:
    """Empty where there is none, or where it cannot be read: then everything is made anew."""
    try:
        data = json.loads(manifest_path(root).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def letterboxed(root: Path) -> bool:
    return any(entry.get("settings", {}).get("fit") == "letterbox" for entry in read_manifest(root).get("files", {}).values())
