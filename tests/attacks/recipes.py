"""Recipes, mutated: other values, other keys, other sections, other bytes. A plan refuses or passes; it never crashes."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from drawings import drawing

from attacks import TESTS
from attacks.calling import call
from attacks.table import Case

ROOT = TESTS.parent
VALUES = (
    *("true", "false", "0", "-1", "1", "1e400", "-0.0", "nan", "inf", "9223372036854775808", "1.5"),
    *(
        '""',
        '"x"',
        '"../../etc/passwd"',
        '"{trigger}"',
        '"{"',
        '"\\u001b[2J"',
        '"a\\u0000b"',
        "'%s'",
    ),
    *(
        "[]",
        "[[]]",
        "[1, 'x']",
        "{}",
        "{a = 1}",
        "1979-05-27",
        "07:32:00",
        "0x10",
        '"""a\nb"""',
        "",
    ),
    *(
        '"é\u202e"',
        '"' + "n" * 300 + '"',
        "[" * 60 + "]" * 60,
        '"hf:a/b/c@d"',
        '"/dev/zero"',
        '"."',
    ),
    *('"512,"', '"64,64,64"', '"0x0"', '"AdamW8bit"', '"networks.lora_flux"', '"cosine"', '"bf16"'),
)
SECTIONS = (
    "model",
    "dataset",
    "train",
    "sample",
    "launch",
    "rehearse",
    "about",
    "dataset.subset.x",
)
DEVICES = ("cuda:24", "cuda:8x2", "cpu", "mps")


def cases(folder: Path, count: int) -> Iterator[Case]:
    for place in ("datasets/maya/2_maya_char", "datasets/demo/8_zwx"):
        (folder / place).mkdir(parents=True)
        drawing((96, 96), 1).save(folder / place / "a.png")
        (folder / place / "a.txt").write_text("maya_char, one", encoding="utf-8")
    pages = sorted([*(ROOT / "recipes").glob("*.toml"), *(ROOT / "presets").glob("*.toml")])
    texts = [path.read_text(encoding="utf-8") for path in pages]
    keys = sorted({key for text in texts for key in re.findall(r"^(\w+)\s*=", text, re.MULTILINE)})
    pick, recipe = random.Random(6000), folder / "recipe.toml"
    for number in range(count):
        which = pick.randrange(len(texts))
        text = texts[which]
        for _ in range(pick.choice((1, 1, 2, 5))):
            text = mutated(pick, text, keys)
        data = text.encode("utf-8", "surrogateescape")
        if pick.random() < 0.05:
            at = pick.randrange(len(data) + 1)
            data = data[:at] + bytes(pick.randrange(256) for _ in range(3)) + data[at:]
        words = ["plan", recipe, "--for", pick.choice(DEVICES), *(["--json"] * (number % 3 == 0))]
        if pick.random() < 0.2:
            words.append(f"--set={pick.choice(keys)}={pick.choice(VALUES)}".replace("\n", " "))
        name = f"{number} {pages[which].name}"
        yield name, lambda data=data, words=words: right(recipe, data, words)  # type: ignore[misc]


def mutated(pick: random.Random, text: str, keys: list[str]) -> str:
    lines = text.splitlines()
    at = pick.randrange(len(lines))
    line, kind = lines[at], pick.randrange(8)
    if kind in {0, 1, 2} and "=" in line:
        lines[at] = f"{line.split('=')[0]}= {pick.choice(VALUES)}"
    elif kind == 3:
        lines.insert(at, f"{pick.choice(keys)} = {pick.choice(VALUES)}")
    elif kind == 4:
        lines.insert(at, f"[{pick.choice(SECTIONS)}]")
    elif kind == 5:
        del lines[at]
    elif kind == 6:
        lines.insert(at, line)
    elif line:
        where = pick.randrange(len(line))
        lines[at] = line[:where] + pick.choice("=[]{}\"'.,#\\\t\x1b\0") + line[where + 1 :]
    return "\n".join(lines) + "\n" if lines else "\n"


def right(recipe: Path, data: bytes, words: list[str | Path]) -> str:
    recipe.unlink(missing_ok=True)
    recipe.write_bytes(data)
    said = call(*words)
    if said.code == 2 and any(str(word).startswith("--set") for word in words):
        return ""  # a --set that cannot be read is a matter of usage
    if said.code == 1 and not said.err.strip():
        return "refused without a word"
    return said.fault
