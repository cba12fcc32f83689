"""Failures of the real programs: each is provoked, named by the plan beforehand where it can be, and explained by its own text afterwards.

Thirty minutes for sd-scripts; the embedded trainer's take two.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from provoked import KOHYA, SHARED, Case, planned, project, spoilt

from lorakit.rehearse import standin
from lorakit.run.train import train

pytestmark = pytest.mark.slow


def provoke(
    case: Case, place: Path, base: Path, trainer: str, launch: Mapping[str, int] | None = None
) -> None:
    recipe = project(place, base, trainer)
    plan = planned(recipe, launch)
    assert [fault for fault in plan.faults if fault.severity == "error"] == []
    if case.damage:
        case.damage(place)
    if case.before:
        again = planned(
            recipe, {key: value for key, value in case.train.items() if value is not None}, "again"
        )
        assert case.before in {fault.rule for fault in again.faults if fault.severity == "error"}
    outcome = train(spoilt(plan, case))
    assert outcome.state == "failed"
    assert outcome.ending.diagnosis is not None
    assert outcome.ending.diagnosis.rule == case.rule, outcome.ending.diagnosis
    assert outcome.ending.diagnosis.evidence
    assert outcome.ending.diagnosis.remedy


@pytest.mark.real
@pytest.mark.parametrize("case", [*SHARED, *KOHYA], ids=lambda case: case.name)
def test_sd_scripts_failing_is_explained(
    case: Case, sd_scripts: Path, with_stand_ins: Path, tmp_path: Path
) -> None:
    provoke(case, tmp_path / "project", standin.stand_in("sd15"), "kohya")


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.name)
def test_the_embedded_trainer_failing_is_explained(case: Case, tmp_path: Path) -> None:
    tiny = pytest.importorskip("tiny_bases")
    base = tiny.make_tiny("sd15", tmp_path / "tiny")
    provoke(case, tmp_path / "project", base, "embedded", {"launch.num_cpu_threads": 1})
