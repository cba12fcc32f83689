"""What a recipe says about single folders, [dataset.subset.40_maya], when folders are renamed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lorakit import tomllib
from lorakit.errors import RecipeError
from lorakit.recipe.document import read_document
from lorakit.toml_text import key_text

TABLE = ("dataset", "subset")


def with_folders_renamed(file: Path, renamed: Mapping[str, str]) -> tuple[str, str]:
    """The recipe's text before and after: only names change, proven by reading it again."""
    document = read_document(file, file.name)
    dataset = document.data.get("dataset")
    said = dataset.get("subset") if isinstance(dataset, dict) else None
    names = {old: new for old, new in renamed.items() if isinstance(said, dict) and old in said}
    if not names or not isinstance(said, dict) or not isinstance(dataset, dict):
        return document.text, document.text
    lines = document.text.split("\n")
    # a name in a header or before a sign of equality, bare or quoted
    spelt = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    found = re.compile(rf"(?<![\w-])([\"']?)({spelt})\1(?=\s*[.\]=])")
    inside = False
    for number, line in enumerate(lines):
        if re.match(r"\s*\[", line):
            inside = bool(re.match(r"\s*\[+\s*dataset\b", line))
        if inside or re.match(r"\s*dataset\s*[.=]", line):
            lines[number] = found.sub(lambda match: key_text(names[match[2]]), line)
    meant = {names.get(name, name): table for name, table in said.items()}
    text = "\n".join(lines)
    try:
        sound = tomllib.loads(text) == {**document.data, "dataset": {**dataset, "subset": meant}}
    except tomllib.TOMLDecodeError:
        sound = False
    if not sound:
        raise RecipeError(
            f"{document.source(*TABLE)} speaks of {' and '.join(names)} in a way that lorakit"
            " cannot change; nothing was moved.",
            hint="Rename it there by hand, then add --force.",
        )
    return document.text, text
