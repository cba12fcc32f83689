"""docs/silent-failures.md is a promise: every rule it names is in the code, every test it names is in the tests."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
PAGE = HOME / "docs" / "silent-failures.md"
ROWS = [
    tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| sd-scripts"))
]


@cache
def code() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((HOME / "lorakit").rglob("*.py")))


def test_the_page_has_its_rows() -> None:
    assert len(ROWS) >= 60
    assert all(len(row) == 4 for row in ROWS)


@pytest.mark.parametrize("rule", sorted({row[2] for row in ROWS if row[2] != "-"}))
def test_every_rule_of_the_page_exists(rule: str) -> None:
    assert f'"{rule}"' in code()


@pytest.mark.parametrize("proof", sorted({row[3] for row in ROWS}))
def test_every_proof_of_the_page_exists(proof: str) -> None:
    path, _, name = proof.partition("::")
    assert re.search(rf"^def {re.escape(name)}\(", (HOME / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_rule_of_this_room_is_told_by_some_test() -> None:
    """A rule that no test names could vanish unseen."""
    rules = set()
    for path in (HOME / "lorakit" / "plan").glob("*.py"):
        rules |= set(re.findall(r'"([a-z][a-z0-9]*(?:-[a-z0-9]*[a-z])+)"(?:, "(?:warning|note)")?\)', path.read_text(encoding="utf-8")))
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (HOME / "tests" / "plan").glob("test_*.py"))
    assert {rule for rule in rules if rule not in tests} == set()
