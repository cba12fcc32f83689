"""Take over a folder of configs that other people published, and count what became of them.

    python tools/check_imports.py FOLDER

Every file in it goes through `lorakit import` as if it were typed, each in a project of its own,
and every value in it must be in the report. Prints a line for each file: imported (with how many
values were kept, translated and dropped), reported (a family that lorakit lacks), refused (no
config of training), or broken: a crash, or a value without an answer. Exits 1 where one is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

from lorakit import tomllib  # noqa: E402  (the tool runs from a plain checkout of ours)
from lorakit.errors import LorakitError  # noqa: E402
from lorakit.exchange.read import read_thing  # noqa: E402
from lorakit.exchange.take import take_over  # noqa: E402
from lorakit.families import FAMILIES  # noqa: E402
from lorakit.json_text import leaves  # noqa: E402
from lorakit.recipe.resolve import resolve  # noqa: E402


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    words: Counter[str] = Counter()
    for file in sorted(one for one in folder.rglob("*") if one.is_file()):
        word, told = judge(file)
        words[word] += 1
        print(f"{word:9} {file.relative_to(folder)}: {told}")
    print(", ".join(f"{count} {word}" for word, count in words.items()))
    return 1 if words["broken"] else 0


def judge(file: Path) -> tuple[str, str]:
    try:
        with tempfile.TemporaryDirectory(prefix="lorakit-imports-") as name:
            taken = take_over(read_thing(str(file.absolute()), Path()), Path(name))
            forgotten = values_of(file) - {fate.source for fate in taken.fates}
            if forgotten:
                return "broken", f"no answer for {', '.join(sorted(forgotten))}"
            found = ", ".join(f"{count} {word}" for word, count in taken.counts.items())
            told = f"{taken.theirs.kind}, {taken.family}: {len(taken.fates)} values, {found}"
            if taken.family not in FAMILIES:
                return "reported", told
            recipe = Path(name) / "recipes" / f"{taken.name}.toml"
            recipe.parent.mkdir()
            recipe.write_text(taken.text(), encoding="utf-8")
            faults = [fault for fault in resolve(recipe)[1] if fault.severity == "error"]
            return "imported", f"{told}; {len(faults)} faults" + "".join(
                f"\n{'':10}{fault}" for fault in faults
            )
    except LorakitError as error:
        return "refused", " ".join(str(error).split())
    except Exception:  # noqa: BLE001  (that is what is looked for)
        return "broken", traceback.format_exc(limit=-2)


def values_of(file: Path) -> set[str]:
    """The places of its values, where it is data; a command's are its options."""
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    if file.suffix in {".yaml", ".yml"}:
        import yaml

        return {path for path, _ in leaves(yaml.safe_load(text))}
    if file.suffix not in {".toml", ".json"}:
        return set()
    data = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    return {path for path, _ in leaves(data)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
