"""Rewrite the JSON Schemas of recipes and presets from the catalogue; `--check` says whether they
are current.

    python tools/make_schema.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lorakit.recipe.json_schema import preset_schema, recipe_schema, schema_file


def main(words: list[str]) -> int:
    old = False
    for name, made in (("recipe", recipe_schema()), ("preset", preset_schema())):
        path, text = schema_file(name), json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            old = True
            if "--check" not in words:
                path.write_text(text, encoding="utf-8")
                print(f"wrote {path.name}")
    return int(old and "--check" in words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
