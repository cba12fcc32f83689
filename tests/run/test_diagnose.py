"""Every failure we recognise, by the text its program really prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lorakit
from lorakit import tomllib
from lorakit.recipe.model import Setting
from lorakit.run.diagnose import diagnose, symptoms, unwrapped
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import Diagnosis, Ending, Record

RUN_DIR = Path("runs/fox/20260101-120000")
FAILED = Record(
    state="failed", recipe="recipes/fox.toml", settings={"train": {"learning_rate": Setting(1e-4)}}
)


def failed(record: Record = FAILED, **ending: Any) -> Outcome:
    return Outcome(RUN_DIR, replace(record, outcome=Ending(**ending)))


FAILURES = tomllib.loads((Path(__file__).parent / "failures.toml").read_text(encoding="utf-8"))[
    "failure"
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda one: f"{one['rule']}-{one['who']}")
def test_a_true_text_gives_its_cause_its_proof_and_a_command(failure: dict[str, Any]) -> None:
    outcome = failed(nan=failure.get("nan", False), signal=failure.get("signal"))
    found = diagnose(
        ["something before", *failure["text"].splitlines()],
        outcome,
        memory_killed=failure.get("memory_killed", False),
    )
    assert found == Diagnosis(
        failure["cause"], failure["evidence"], failure["remedy"], failure["rule"]
    )
    assert "{" not in found.cause + found.remedy


def test_every_rule_of_the_table_has_a_text() -> None:
    assert {symptom.rule for symptom in symptoms()} <= {failure["rule"] for failure in FAILURES}


def test_every_pattern_of_the_table_is_met_by_some_text() -> None:
    texts = [line for failure in FAILURES for line in unwrapped(failure["text"].splitlines())]
    assert [
        symptom.pattern.pattern
        for symptom in symptoms()
        if not any(map(symptom.pattern.search, texts))
    ] == []


def test_what_the_plan_is_said_to_name_beforehand_is_a_rule_of_its_own() -> None:
    pages = [
        path
        for kind in ("*.py", "options.toml")
        for path in Path(lorakit.__file__).parent.rglob(kind)
    ]
    code = "".join(path.read_text(encoding="utf-8") for path in pages)
    assert {
        failure["plan"]
        for failure in FAILURES
        if "plan" in failure and f'"{failure["plan"]}"' not in code
    } == set()


def test_a_message_in_narrow_columns_is_one_line_of_english() -> None:
    broken = [
        "2026-01-01 12:00:00 WARNING  ignore subset with               train_util.py:2132",
        f"{'':29}image_dir='data': no images",
        f"{'':29}found /",
        f"{'':29}画像が見つからない",
        f"{'':20}INFO     0 reg images.",
        "Traceback",
    ]
    assert unwrapped(broken) == [
        "WARNING  ignore subset with image_dir='data': no images found",
        "INFO     0 reg images.",
        "Traceback",
    ]


def test_the_end_of_the_log_wins_over_an_old_warning() -> None:
    lines = [
        "No module named 'xformers', going on without",
        *["steps"] * 100,
        "ZeroDivisionError: division by zero",
    ]
    assert diagnose(lines, failed()).rule == "tiny-image"


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"mixed_precision": "fp16"}, "--set no_half_vae=true"),
        ({"mixed_precision": "fp16", "no_half_vae": True}, "--set mixed_precision=bf16"),
        ({"mixed_precision": "bf16", "learning_rate": 4e-4}, "--set learning_rate=0.0001"),
        ({"learning_rate": 1e30}, "--set learning_rate=0.0001"),
        ({"learning_rate": 1.0, "optimizer_type": "Prodigy"}, "--set learning_rate=0.25"),
    ],
)
def test_nan_has_the_likeliest_remedy_first(settings: dict[str, object], remedy: str) -> None:
    train = {key: Setting(value) for key, value in settings.items()}
    outcome = failed(replace(FAILED, settings={"train": train}), nan=True)
    assert diagnose(["steps: 1/2 avr_loss=nan"], outcome).remedy.endswith(remedy)


def test_a_kill_that_the_kernel_counted_is_memory() -> None:
    assert diagnose([], failed(signal=9), memory_killed=True).rule == "host-memory"


def test_a_kill_without_a_word_is_said_with_care() -> None:
    found = diagnose(["steps: 3/4"], failed(signal=9))
    assert found.rule == "killed"
    assert "if nobody did it by hand" in found.cause


def test_an_unknown_failure_is_called_unknown_and_shows_the_error_line() -> None:
    found = diagnose(
        [
            "Traceback (most recent call last):",
            "KeyError: 'tea'",
            "subprocess.CalledProcessError: returned 1",
        ],
        failed(),
    )
    assert (found.rule, found.evidence, found.remedy) == (
        "unknown",
        "KeyError: 'tea'",
        "lorakit log fox/20260101-120000",
    )


def test_a_recipe_with_a_space_is_quoted() -> None:
    outcome = failed(replace(FAILED, recipe="my recipes/a fox.toml"))
    assert diagnose(["MemoryError"], outcome).remedy.startswith(
        "lorakit train 'my recipes/a fox.toml'"
    )
