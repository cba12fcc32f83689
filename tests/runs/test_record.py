"""The record is read, checked and written by its dataclasses; docs/record.md names what they do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorakit.errors import LorakitError
from lorakit.plan.model import Plan
from lorakit.runs.find import info
from lorakit.runs.ledger import Ledger
from lorakit.runs.opening import opening_record
from lorakit.runs.record import NAME, Record, read_record
from lorakit.typed_json import Part, WrongValue

PAGE = Path(__file__).parents[2] / "docs" / "record.md"


def written(plan: Plan) -> Any:
    plan.run_dir.mkdir(parents=True)
    Ledger(plan.run_dir, opening_record(plan)).save()
    return json.loads((plan.run_dir / NAME).read_text())


def parts_of(kind: type[Part]) -> Iterator[type[Part]]:
    yield kind
    for hint in get_type_hints(kind).values():
        for inner in (hint, *get_args(hint)):
            if isinstance(inner, type) and issubclass(inner, Part):
                yield from parts_of(inner)


def names_of(kind: type[Part]) -> set[str]:
    return {one.name for one in fields(kind)} - {"unknown"}


def test_the_page_names_every_key_and_no_other() -> None:
    table = PAGE.read_text().partition("## record.json")[2]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    keys = {key for first, _ in rows for key in re.findall(r"`(\w+)`", first)}
    assert keys == names_of(Record)
    for name, hint in get_type_hints(Record).items():
        row = next((text for key, text in rows if f"`{name}`" in key), "")
        for inner in (hint, *get_args(hint)):
            if isinstance(inner, type) and issubclass(inner, Part):
                wanted = {key for part in parts_of(inner) for key in names_of(part)}
                assert wanted <= set(re.findall(r"`(\w+)`", row)), name


def test_what_is_written_is_read_back_the_same(make_plan: Any) -> None:
    data = written(plan := make_plan())
    assert read_record(plan.run_dir).to_json() == data
    assert data["machine"] == {"rank": 0, "of": 1}
    assert data["outcome"] == data["process"] == {}


def test_keys_of_another_lorakit_survive_a_change(make_plan: Any) -> None:
    data = written(plan := make_plan())
    data |= {"mood": "good", "unknown": 1}
    data["steps"]["mood"] = data["weights"][0]["mood"] = [1, {"a": None}]
    (plan.run_dir / NAME).write_text(json.dumps(data))
    Ledger(plan.run_dir).update(state="done")
    assert json.loads((plan.run_dir / NAME).read_text()) == data | {"state": "done"}


def test_null_is_what_a_missing_key_is(tmp_path: Path) -> None:
    nothing = dict.fromkeys(names_of(Record) - {"schema"}) | {"schema": 1}
    (tmp_path / NAME).write_text(json.dumps(nothing))
    assert read_record(tmp_path) == Record()


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*way, key)
            yield from places(inner, (*way, key))


FULL = Record().to_json() | {
    "weights": [{"key": "base", "path": "a"}],
    "checkpoints": [{"path": "a.safetensors", "step": 1}],
    "settings": {"train": {"seed": {"value": 1, "source": "recipe"}}},
    "outcome": {"step": 1, "diagnosis": {"cause": "x"}},
    "process": {"pid": 7, "log_at": [1, 2]},
    "stages": [{"name": "a", "folder": "1-a"}],
    "parts": [{"number": 2, "from_step": 4}],
    "judged": {"held_out": 5, "cells": [{"label": "final", "held": -0.5}]},
}


@given(
    st.sampled_from(list(places(FULL))),
    st.sampled_from([None, True, -1, 0.5, "x", [], {}, [3], {"x": 3}, [[]], float("nan")]),
)
def test_nonsense_anywhere_is_refused_by_its_place_or_harmless(
    way: tuple[Any, ...], nonsense: Any
) -> None:
    data = json.loads(json.dumps(FULL))
    target = data
    for key in way[:-1]:
        target = target[key]
    target[way[-1]] = nonsense
    try:
        found = Record.from_json(data)
    except WrongValue as error:
        named = zip(
            error.where.split("."), (key for key in way if isinstance(key, str)), strict=False
        )
        assert all(one == other for one, other in named)
    else:
        assert repr(Record.from_json(found.to_json())) == repr(found)  # NaN differs from NaN


def test_every_reader_of_a_broken_record_gets_the_same_words(make_plan: Any) -> None:
    data = written(plan := make_plan())
    (plan.run_dir / NAME).write_text(json.dumps(data | {"steps": {"total": "many"}}))
    said = "steps.total is 'many', which no record holds. Was it edited by hand?"
    assert said in info(plan.run_dir).reason
    with pytest.raises(LorakitError, match=re.escape(said)):
        Ledger(plan.run_dir)
