"""Write catalogue/embedded.json from options.py and kohya's catalogue: `python -m
lorakit.trainers.embedded.make_catalogue`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lorakit.files import write_atomic
from lorakit.trainers.embedded import options

HERE = Path(__file__).parents[2] / "catalogue"
KOHYA = HERE / "kohya.json"


def catalogue() -> dict[str, Any]:
    kohya = json.loads(KOHYA.read_text(encoding="utf-8"))
    names = sorted(
        {name for script in options.SCRIPT_OPTIONS.values() for name in script} | set(options.OWN)
    )
    entries: dict[str, Any] = {}
    for name in names:
        entry = dict(kohya["options"].get(name) or options.OWN.get(name) or options.EXTRA[name])
        if name in options.CHOICES:
            entry["choices"] = list(options.CHOICES[name])
        entries[name] = entry
    scripts = {
        script: sorted({*listed, *options.OWN}) for script, listed in options.SCRIPT_OPTIONS.items()
    }
    overrides = {
        script: {
            name: entry
            for name, entry in kohya["overrides"].get(script, {}).items()
            if name in listed
        }
        for script, listed in scripts.items()
    }
    return {
        "commit": kohya["commit"],
        "options": entries,
        "scripts": scripts,
        "overrides": {k: v for k, v in overrides.items() if v},
    }


def text() -> str:
    return json.dumps(catalogue(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_atomic(HERE / "embedded.json", text())
