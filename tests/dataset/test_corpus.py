"""The corpus of broken files: every one gets the right message with its name, nothing stops the others, nothing is lost."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lorakit.dataset.buckets import BucketRules
from lorakit.dataset.build.fit import Settings
from lorakit.dataset.build.jobs import jobs_of
from lorakit.dataset.build.manifest import SubsetPlan
from lorakit.dataset.build.originals import add
from lorakit.dataset.build.prepare import prepare
from lorakit.dataset.check import CheckSettings, check
from lorakit.dataset.facts import looks_like_image
from lorakit.dataset.rules import RULES, shown
from lorakit.dataset.scan import scan
from lorakit.errors import Fault

pytestmark = pytest.mark.slow  # half a minute: a hundred and twenty files, five ways

TOOL = Path(__file__).parents[2] / "tools" / "make_corpus.py"


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_corpus", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_corpus"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModuleType]:
    module = tool()
    root = tmp_path_factory.mktemp("corpus") / "data"
    module.make_corpus(root)
    return root, module


@pytest.fixture(scope="module")
def faults(corpus: tuple[Path, ModuleType]) -> list[Fault]:
    wants = CheckSettings(
        "qb_fox",
        BucketRules((128, 128), min=64, max=256),
        crop_limit=1.0,
        off=frozenset({"enlarged"}),
    )
    return list(check(scan(corpus[0]), wants))


def state(root: Path) -> dict[str, object]:
    """Every file with its content and time; links and pipes by what they are."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        found[os.fsdecode(path)] = (
            (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            if stat.S_ISREG(mode)
            else stat.S_IFMT(mode)
        )
    return found


def test_there_are_more_than_a_hundred_ways_to_be_broken(corpus: tuple[Path, ModuleType]) -> None:
    assert len(corpus[1].cases()) > 100
    assert {rule for case in corpus[1].cases() for rule in case.rules} <= set(RULES)


def test_every_broken_thing_is_told_by_its_name_and_the_right_rule(
    corpus: tuple[Path, ModuleType], faults: list[Fault]
) -> None:
    told = [(fault.rule, f"{fault.where} {fault.what}") for fault in faults]
    for case in corpus[1].cases():
        name = shown(
            Path(case.name).parent.name if case.rules == ("nested",) else Path(case.name).name
        )
        stem = os.path.splitext(name)[0]
        assert any(
            rule in case.rules and (name in text or f"{stem}.png" in text) for rule, text in told
        ), case.name


def test_the_good_ones_are_good_in_the_midst_of_it(faults: list[Fault]) -> None:
    spoken_of = {
        (Path(fault.where).name, fault.rule)
        for fault in faults
        if Path(fault.where).name.startswith("good_")
    }
    assert {rule for _, rule in spoken_of} <= {"cache-stale", "cache-old-style", "caption-same"}


def test_checking_changes_nothing(corpus: tuple[Path, ModuleType]) -> None:
    before = state(corpus[0])
    check(scan(corpus[0]), CheckSettings("qb_fox"))
    assert state(corpus[0]) == before


def test_every_image_is_either_added_or_refused_by_name(
    corpus: tuple[Path, ModuleType], tmp_path: Path
) -> None:
    root = corpus[0]
    before = state(root)
    outcome = add(tmp_path / "data", SubsetPlan(10, "qb_fox"), [root])
    assert state(root) == before
    offered = {
        shown(path)
        for path in root.rglob("*")
        if looks_like_image(path.name)
        and not path.is_dir()
        and not _in_folder_named_like_an_image(path)
    }
    answered = {item.source for item in outcome.added} | {fault.where for fault in outcome.refused}
    assert answered == offered
    assert all(fault.what and fault.rule for fault in outcome.refused)
    taken = {Path(item.source).name for item in outcome.added}
    assert {
        "good_00.jpg",
        "alpha.png",
        "turned_6.jpg",
        "cmyk.jpg",
        "Mixed.Png",
        "unread.gif",
    } <= taken
    assert not {"bomb.png", "cut_png_half.png", "one_pixel.png", "pipe.png"} & taken


def _in_folder_named_like_an_image(path: Path) -> bool:
    return any(looks_like_image(part) for part in path.parent.parts)


def test_everything_that_can_be_prepared_is(
    corpus: tuple[Path, ModuleType], tmp_path: Path
) -> None:
    root = tmp_path / "data"
    add(root, SubsetPlan(10, "qb_fox"), [corpus[0] / "10_qb_fox"])
    originals = state(root / "originals")
    outcome = prepare(root, jobs_of(root, Settings("letterbox", (64, 64))))
    assert outcome.refused == []
    assert state(root / "originals") == originals
    facts = scan(root)
    assert facts.image_count == len(outcome.made) > 50
    errors = [fault for fault in check(facts, CheckSettings("qb_fox")) if fault.severity == "error"]
    assert {fault.rule for fault in errors} <= {
        "caption-missing"
    }  # what was never written cannot be carried


def test_preparing_the_corpus_itself_names_each_that_cannot_be(
    corpus: tuple[Path, ModuleType], tmp_path: Path
) -> None:
    source = corpus[0] / "10_qb_fox"
    before = state(source)
    outcome = prepare(
        tmp_path / "data",
        jobs_of(
            tmp_path / "data", Settings("letterbox", (64, 64)), source=source, trigger="qb_fox"
        ),
    )
    assert state(source) == before
    assert len(outcome.made) > 50
    refused = {Path(fault.where).name for fault in outcome.refused}
    assert {"bomb.png", "zero_png.png", "cut_jpeg_third.jpg", "text.jpg", "nowhere.png"} <= refused
    assert not list((tmp_path / "data").rglob("*.tmp"))
