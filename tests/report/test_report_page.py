"""The page's text: complete, escaped, bounded, and true to the run's folder."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lorakit.cli.main import main
from lorakit.cli.terminal.ending import say_outcome
from lorakit.recipe.model import Consent, Subject
from lorakit.report import make
from lorakit.report.gallery import Budget
from lorakit.report.make import report_text
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import Record, read_record

VOID = {"meta", "input", "img", "br", "link", "path", "line", "circle", "rect"}
NASTY = '</title><script>alert("x")</script><img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """Every element closed in order; remembers elements, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_is_complete_and_has_every_part(make_run: Any) -> None:
    page = Page(report_text(make_run()))
    for words in (
        "fox_kit, in the snow",
        "10_fox_kit: 2 images, 10 repeats",
        "4_fox_kit_far: 1 image, 4 repeats",
        "bucket 80 × 48",
        "fox_kit, portrait",
        "fox_kit, <running>",
        "fox.safetensors",
        "c0ffee",
        "d1ge57",
        "recipes/fox.toml:9",
        "abc123",
        "torch",
        "2.8.0",
        "left-pad 1.0",
        "100 of 100",
        "10 x 10 = 100 draws",
        "lorakit sheet fox/20260101-120000",
    ):
        assert words in page.text, words
    assert len(page.of("img")) == 3 + 4
    charts = [one for one in page.of("svg") if str(one.get("class")).startswith("chart")]
    assert len(charts) == 2 * 2, "two, each wide and narrow"


def test_what_the_judge_found_has_a_part_of_its_own(make_run: Any) -> None:
    cell = {"label": "final <b>", "strength": 0.8, "verdict": "listed", "held": -0.5}
    cells = [cell | {"seen": {"with trigger": 0.9, "nearest": 0.31}}]
    judged = {"held_out": 5, "cells": cells, "reason": "because", "notes": ["a note"]}
    judged |= {"base": {"nearest": 0.4, "<b>": 1.0}}
    text = report_text(make_run(judged=judged))
    part = text.partition('<section id="judged"')[2].partition("</section>")[0]
    assert "final &lt;b&gt;" in part
    assert "-0.500" in part
    assert "<p>because</p><p>a note</p>" in part
    assert "0.31" in part
    assert "&lt;b&gt;" in part
    assert 'id="judged"' not in report_text(make_run(run="20260102-120000"))


def test_the_page_says_who_is_shown_and_where_the_pictures_come_from() -> None:
    consent = Consent("Maya Lind", "2026-11-28", "training")
    subject = Subject("person", "photos of <mine>", "CC BY 4.0", True, consent, {"for": "ada"})
    html = make.origins(Record(notes="second try", subject=subject))
    for words in (
        *("second try", "person, a real person", "photos of &lt;mine&gt;", "CC BY 4.0"),
        *("Maya Lind, 2026-11-28: training", "ada"),
    ):
        assert words in html


def test_nothing_in_the_page_comes_from_elsewhere(make_run: Any) -> None:
    text = report_text(make_run())
    page = Page(text)
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in page.of("img"))
    assert not page.of("link")
    assert all("src" not in script for script in page.of("script"))
    assert all(str(link["href"]).startswith("#") for link in page.of("a"))
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert not [
        name
        for name, attributes in page.seen
        if "style" in attributes or any(key.startswith("on") for key in attributes)
    ]


def test_the_policy_allows_this_script_and_this_style_alone(make_run: Any) -> None:
    text = report_text(make_run())
    policy = str(
        next(
            meta["content"]
            for meta in Page(text).of("meta")
            if meta.get("http-equiv") == "Content-Security-Policy"
        )
    )
    for kind in ("script", "style"):
        body = re.search(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        assert body is not None
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_whatever_stands_in_files_is_shown_as_text(make_run: Any) -> None:
    run_dir = make_run(
        captions=(NASTY,) * 3,
        name=NASTY,
        trigger=NASTY,
        preset=NASTY,
        recipe=NASTY,
        warnings=[{"text": NASTY, "rule": NASTY}],
        outcome={
            "reason": NASTY,
            "diagnosis": {"cause": NASTY, "evidence": NASTY, "remedy": NASTY},
        },
    )
    record = json.loads((run_dir / "record.json").read_text())
    record["settings"][NASTY] = {NASTY: {"value": NASTY, "source": NASTY}}
    record["trainer"] = {"name": NASTY, "commit": NASTY, "packages": {NASTY: NASTY, "torch": NASTY}}
    record["checkpoints"] = [
        {"path": f"output/{NASTY}", "step": 1, "sha256": NASTY, "fault": NASTY, "kind": NASTY}
    ]
    record["dataset"]["digest"] = record["steps"]["formula"] = NASTY
    (run_dir / "record.json").write_text(json.dumps(record))
    (run_dir / "prompts.toml").write_text(f"[prompt]\n[[prompt.subset]]\nprompt = '''{NASTY}'''\n")
    text = report_text(run_dir)
    page = Page(text)
    assert len(page.of("script")) == 1
    assert len(page.of("img")) == 3 + 4
    assert "<script>alert" not in text and "onerror=alert(1)>" not in text.replace("&gt;", "")
    assert page.text.count(NASTY) > 12


def test_braces_in_a_caption_are_not_slots(make_run: Any) -> None:
    assert "a {{script}} b" in Page(report_text(make_run(captions=("a {{script}} b",) * 3))).text


def test_a_large_dataset_is_cut_to_an_even_choice_and_says_so(make_run: Any) -> None:
    text = report_text(make_run(captions=tuple(f"picture {number}" for number in range(230))))
    page = Page(text)
    assert len(page.of("img")) - 4 == 200
    assert "Shown: 200 of 230 images" in page.text
    assert "4_fox_kit_far: 77 images" in page.text
    assert "picture 0" in page.text and "picture 229" in page.text
    assert len(text) < 4_500_000


def test_small_subsets_are_shown_complete_and_large_ones_share_the_rest() -> None:
    from lorakit.report.gallery import _shares

    shares = _shares({"a": range(300), "b": range(10), "c": range(300)}, 200)
    assert shares == {"a": 95, "b": 10, "c": 95}


def test_samples_stand_by_step_under_their_prompts_and_the_last_step_comes_first(
    make_run: Any,
) -> None:
    page = Page(report_text(make_run()))
    assert [step["data-name"] for step in page.of("div") if step.get("class") == "step"] == [
        "step 50",
        "step 100",
    ]
    slider = next(one for one in page.of("input") if one["type"] == "range")
    assert (slider["max"], slider["value"]) == ("1", "1")


def test_of_too_many_samples_complete_steps_are_left_out_evenly(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorakit.report import gallery

    run_dir = make_run(sample_steps=tuple(range(10, 110, 10)))
    found = gallery.samples_of(run_dir, read_record(run_dir), Budget(64, 8, 1_000_000))
    assert sorted({step for step, _ in found.shown}) == [10, 40, 70, 100]
    assert (len(found.shown), found.left_out) == (8, 12)


@pytest.mark.parametrize("state", ["running", "failed", "interrupted"])
def test_a_run_without_a_step_or_a_picture_has_a_page_too(
    tmp_path: Path, make_run: Any, state: str
) -> None:
    run_dir = make_run(state=state, outcome={}, samples=[], checkpoints=[], steps=0)
    for name in ("dataset.json", "prompts.toml", "progress.jsonl"):
        (run_dir / name).unlink()
    page = Page(report_text(run_dir))
    assert "No step has been made yet." in page.text and "None was saved." in page.text
    assert (
        "dead" if state == "running" else state
    ) in page.text  # nobody watches it and no trainer lives


def test_images_that_are_gone_or_broken_are_named(make_run: Any, tmp_path: Path) -> None:
    run_dir = make_run()
    (tmp_path / "datasets/fox/10_fox_kit/001.png").unlink()
    (tmp_path / "datasets/fox/10_fox_kit/002.png").write_bytes(b"\x89PNG but no more")
    (run_dir / "output/fox.safetensors").unlink()
    text = Page(report_text(run_dir)).text
    assert "001.png: no longer there" in text
    assert "002.png: cannot be decoded" in text
    assert "fox.safetensors no longer there" in text


def test_the_command_writes_into_the_runs_folder_and_prints_where(
    make_run: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run_dir = make_run()
    assert main(["report", str(run_dir)]) == 0
    assert capsys.readouterr().out.strip() == str(run_dir / "report.html")
    assert main(["report", str(run_dir), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert not list(run_dir.glob(".*")), "no half file stays"


def test_a_page_that_cannot_be_written_is_a_plain_error(
    make_run: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["report", str(make_run()), "--out", str(tmp_path / "file" / "page.html")]) == 1
    assert "the page could not be written" in capsys.readouterr().err


def test_a_run_ends_with_its_page(make_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = make_run()
    assert say_outcome(Outcome(run_dir, read_record(run_dir))) == 0
    assert (run_dir / "report.html").exists()
    assert f"All of it on one page: {run_dir / 'report.html'}" in capsys.readouterr().err


def test_a_page_that_fails_changes_nothing_about_the_end(
    make_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = make_run()
    outcome = Outcome(run_dir, read_record(run_dir))
    (run_dir / "record.json").write_text('{"schema": 1, "settings": 3}')
    assert say_outcome(outcome) == 0
    assert "The run's page could not be made" in capsys.readouterr().err


def test_complete_states_are_listed_in_order_and_once(make_run: Any) -> None:
    states = [
        {"path": f"{step}{name}-state", "step": step, "fault": fault}
        for step, name, fault in (
            (8, "a", None),
            (24, "b", None),
            (6, "c", None),
            (24, "d", None),
            (12, "e", "is cut short"),
        )
    ]
    assert "Complete states at step 6, 8, 24." in Page(report_text(make_run(states=states))).text
