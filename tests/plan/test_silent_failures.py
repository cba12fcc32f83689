"""docs/silent-failures.md is a promise: every rule it names is in the code, every test it names is in the tests."""

from __future__ import annotations

import ast
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
    return "\n".join(
        path.read_text(encoding="utf-8")
        for path in sorted((HOME / "lorakit").rglob("*.*"))
        if path.suffix in {".py", ".toml"}
    )


def cases_of(text: str, test: str) -> set[str]:
    """A test's cases by the names that pytest gives them, read without running it; in a table, a
    rule's first case bears its own name.
    """
    body = ast.parse(text).body
    tables = {
        ast.unparse(node.target): node.value for node in body if isinstance(node, ast.AnnAssign)
    }
    function = next(
        node for node in body if isinstance(node, ast.FunctionDef) and node.name == test
    )
    found: set[str] = set()
    for mark in function.decorator_list:
        if not (isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith("parametrize")):
            continue
        named = any(keyword.arg == "ids" for keyword in mark.keywords)
        rows = tables.get(ast.unparse(mark.args[1])) or mark.args[1]
        for row in rows.elts if isinstance(rows, ast.List) else ():
            if named and isinstance(row, ast.Tuple):
                found.add(ast.literal_eval(row.elts[0]))
            elif not named:
                found.add("-".join(ast.literal_eval(row)))
    return found


def test_the_page_has_its_rows() -> None:
    assert len(ROWS) >= 60
    assert all(len(row) == 4 for row in ROWS)


@pytest.mark.parametrize("rule", sorted({row[2] for row in ROWS if row[2] != "-"}))
def test_every_rule_of_the_page_exists(rule: str) -> None:
    assert f'"{rule}"' in code() or f"\n[{rule}]\n" in code()


@pytest.mark.parametrize("proof", sorted({row[3] for row in ROWS}))
def test_every_proof_of_the_page_exists(proof: str) -> None:
    path, _, name = proof.partition("::")
    name, _, case = name.removesuffix("]").partition("[")
    text = (HOME / path).read_text(encoding="utf-8")
    assert re.search(rf"^def {re.escape(name)}\(", text, re.MULTILINE)
    assert not case or case in cases_of(text, name)


def test_no_two_rows_lean_on_one_proof() -> None:
    assert len({row[3] for row in ROWS}) == len(ROWS)


def test_a_test_of_many_cases_proves_a_row_by_the_case_of_its_rule() -> None:
    told = {
        row[2]: row[3]
        for row in ROWS
        if "::test_each_rule_speaks_alone_when_it_is_broken" in row[3]
    }
    assert told
    assert all(proof.endswith(f"[{rule}]") for rule, proof in told.items())


def test_every_rule_of_this_room_is_told_by_some_test() -> None:
    """A rule that no test names could vanish unseen."""
    rules = set()
    for path in (HOME / "lorakit" / "plan").glob("*.py"):
        rules |= set(
            re.findall(
                r'"([a-z][a-z0-9]*(?:-[a-z0-9]*[a-z])+)"(?:, "(?:warning|note)")?\)',
                path.read_text(encoding="utf-8"),
            )
        )
    tests = "\n".join(
        path.read_text(encoding="utf-8") for path in (HOME / "tests" / "plan").glob("test_*.py")
    )
    assert {rule for rule in rules if rule not in tests} == set()
