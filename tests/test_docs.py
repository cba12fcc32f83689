from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from lorakit import cli
from lorakit.cli import main as door
from lorakit.families import FAMILIES
from lorakit.recipe import presets
from lorakit.recipe.schema import words_of

ROOT = Path(__file__).resolve().parents[1]


def test_what_is_generated_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "make_docs.py"), "--check"])
    assert done.returncode == 0, "make docs"


def test_every_relative_link_in_the_documents_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_file_of_ours_that_the_documents_name_is_there() -> None:
    named = r"`((?:lorakit|tests|tools|presets|recipes|docs)/[\w./-]+)`"
    gone = [
        f"{page.name}: {path}"
        for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
        for path in re.findall(named, page.read_text(encoding="utf-8"))
        if "NAME" not in path and not (ROOT / path).exists()
    ]
    assert not gone


def test_prose_keeps_to_a_hundred_columns() -> None:
    """Tables, headings, pictures and what stands in fences aside; a name that long may stand."""
    wide = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        prose = re.sub(r"(?sm)^(`{3,})\w*\n.*?^\1$", "", page.read_text(encoding="utf-8"))
        for line in prose.splitlines():
            if line.startswith(("|", "#", "![")) or len(line.split()) < 3:
                continue
            wide += [f"{page.name}: {line}"] if len(line) > 100 else []
    assert not wide


def test_the_recipes_that_the_readme_makes_are_not_there_yet() -> None:
    made = re.findall(
        r"^lorakit new (\S+)", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert made
    assert not [name for name in made if (ROOT / "recipes" / f"{name}.toml").exists()]


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"`make ([a-z-]+)", readme)) <= targets


def commands_of_the_documents() -> Iterator[str]:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(
            r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
        ):
            yield from re.findall(r"^(?:\w*\$ +)?(lorakit .*)$", block, flags=re.MULTILINE)


def examples_of_the_commands(group: ModuleType = cli) -> Iterator[str]:
    for module in (door.module_of(group, name) for name in group.COMMANDS):
        if hasattr(module, "COMMANDS"):
            yield from examples_of_the_commands(module)
        else:
            yield from re.findall(
                r"^ *(lorakit [^|>\n]*?)(?:   .*|[|>].*)?$",
                module.__doc__ or "",
                flags=re.MULTILINE,
            )


def test_the_page_about_recipes_names_every_key_there_is() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `\[(\w+)\]` \| (.*) \|$", page, flags=re.MULTILINE))
    for section in ("dataset", "sample", "launch"):
        told = set(re.findall(r"`\[?(?:dataset\.)?(\w+)", rows[section])) - {"toml", "folders"}
        assert told == set(words_of(section)), section


@pytest.mark.parametrize(
    "line",
    sorted(
        {*commands_of_the_documents(), *examples_of_the_commands()}
        - {"lorakit turns a short recipe into a trained LoRA.", "lorakit COMMAND --help says more."}
    ),
)
def test_every_command_of_the_documents_is_understood(line: str) -> None:
    _, name, *rest = shlex.split(line, comments=True)
    module = door.module_of(cli, name)
    while hasattr(module, "COMMANDS"):
        name, *rest = [*door.implied(module, rest), *rest]
        module = door.module_of(module, name)
    door.parser_for("lorakit", module).parsed(rest)


def test_every_proof_that_a_document_names_is_a_test() -> None:
    named = {
        match
        for page in (ROOT / "docs").glob("*.md")
        for match in re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert {
        (file, name)
        for file, name in named
        if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    } == set()


def test_the_page_about_trainers_names_every_family_and_every_preset() -> None:
    page = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")
    rows = [row.split("|") for row in page.splitlines() if row.startswith("| `")]
    assert {re.sub(r"\W.*", "", row[1].strip(" `")) for row in rows} == set(FAMILIES)
    named = {name.strip() for row in rows for name in row[3].split(",")} - {"none yet", "kohya's"}
    assert named == set(presets.names())
