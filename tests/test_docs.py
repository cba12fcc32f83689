from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from lorakit.cli import main as door

ROOT = Path(__file__).resolve().parents[1]


def test_what_is_generated_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "make_docs.py"), "--check"])
    assert done.returncode == 0, "make docs"


def test_every_relative_link_in_the_documents_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_recipes_that_the_readme_makes_are_not_there_yet() -> None:
    made = re.findall(r"^lorakit new (\S+)", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert made
    assert not [name for name in made if (ROOT / "recipes" / f"{name}.toml").exists()]


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"`make ([a-z-]+)", readme)) <= targets


def commands_of_the_documents() -> Iterator[str]:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
            yield from re.findall(r"^(?:\w*\$ +)?(lorakit .*)$", block, flags=re.MULTILINE)


@pytest.mark.parametrize("line", sorted(set(commands_of_the_documents()) - {"lorakit turns a short recipe into a trained LoRA.", "lorakit COMMAND --help tells more."}))
def test_every_command_of_the_documents_is_understood(line: str) -> None:
    _, name, *rest = shlex.split(line, comments=True)
    module = import_module(door.COMMANDS[name][0])
    while hasattr(module, "COMMANDS"):
        name, *rest = rest
        module = import_module(module.COMMANDS[name][0])
    door.parsed(door.parser_for("lorakit", module), rest)
