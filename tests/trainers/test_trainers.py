"""The table of trainers, and what each of them answers."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import get_args, get_origin, get_type_hints

import pytest

from lorakit.catalogue.options import options
from lorakit.errors import LorakitError
from lorakit.families import FAMILIES
from lorakit.recipe import schema
from lorakit.trainers import base
from lorakit.trainers.table import TRAINERS, trainer


def test_the_families_name_the_trainers_of_the_table_and_no_others() -> None:
    assert set(schema.TRAINERS) == set(TRAINERS)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_fact_of_a_family_is_of_its_type(family: str) -> None:
    about = FAMILIES[family]
    every = [about, *about.variants.values()]
    sizes = [one.size for one in every if one.size]
    for page in (*every, *sizes, *(weight for one in every for weight in one.weights)):
        for name, meant in get_type_hints(type(page)).items():
            kinds = get_args(meant) if isinstance(meant, UnionType) else (meant,)
            assert isinstance(
                getattr(page, name), tuple(get_origin(one) or one for one in kinds)
            ), name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_trainer_of_a_family_has_its_options(family: str) -> None:
    for name in FAMILIES[family].trainers:
        assert "network_dim" in options(name, FAMILIES[family].by(name).script)


@pytest.mark.parametrize(("name", "other"), [("kohya", "embedded"), ("embedded", "kohya")])
def test_neither_trainer_imports_the_other(name: str, other: str) -> None:
    for path in Path(base.__file__).with_name(name).rglob("*.py"):
        assert f"lorakit.trainers.{other}" not in path.read_text(encoding="utf-8"), path


def test_an_unknown_trainer_is_refused_by_name() -> None:
    with pytest.raises(LorakitError, match="No trainer is called 'onetrainer'; there are kohya"):
        trainer("onetrainer")


def test_without_sd_scripts_the_place_is_named_and_a_note_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LORAKIT_SD_SCRIPTS", raising=False)
    monkeypatch.setattr("lorakit.catalogue.checkout.VENDOR", tmp_path / "vendor")
    found = trainer("kohya").find("sdxl")
    assert not found.found
    assert found.path.name == "sdxl_train_network.py"
    assert [(fault.rule, fault.severity) for fault in found.faults] == [("no-sd-scripts", "note")]


def test_a_checkout_without_the_familys_script_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train_network.py").touch()
    python = tmp_path / "python"
    python.touch(0o755)
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(tmp_path))
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS_PYTHON", str(python))
    assert [fault.rule for fault in trainer("kohya").find("sd15").faults] == ["kohya-pin"]
    assert [fault.rule for fault in trainer("kohya").find("sdxl").faults] == [
        "kohya-pin",
        "no-script",
    ]


def test_the_embedded_trainer_needs_no_checkout_and_knows_three_families() -> None:
    found = trainer("embedded").find("flux")
    assert (found.found, found.path.is_file(), found.python, found.faults) == (True, True, None, ())
    assert not trainer("embedded").find("sd3").found


def test_the_trainers_code_is_its_checkout_or_lorakit_itself(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("b" * 40, encoding="utf-8")
    script = tmp_path / "train_network.py"
    kohya, embedded = trainer("kohya"), trainer("embedded")
    assert kohya.changed_since(script, "b" * 40, "0.0.1") is None
    assert kohya.changed_since(script, "", "0.0.1") is None, "no commit was recorded"
    change = kohya.changed_since(script, "a" * 40, "0.0.1")
    assert change is not None
    assert change[1:] == ("a" * 12, "b" * 12)
    assert embedded.changed_since(script, "", "0.0.1") is not None
