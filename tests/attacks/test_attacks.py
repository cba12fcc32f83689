"""A few cases of every section in the slow run; `make attack` tries all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from attacks.__main__ import in_a_process
from attacks.sections import ALL
from attacks.table import Section


@pytest.mark.slow
@pytest.mark.parametrize("section", ALL, ids=lambda one: one.name)
def test_the_first_cases_of_every_section_are_right(section: Section, tmp_path: Path) -> None:
    tally = in_a_process(section, tmp_path, section.quick)
    assert tally.wrong == ()
    assert tally.tried == section.quick


def test_every_section_says_what_is_right() -> None:
    assert {one.name for one in ALL if len(one.right) > 40} == {one.name for one in ALL}
    assert sum(one.full for one in ALL) > 26_000
