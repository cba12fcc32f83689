"""Two runs on one page, and in numbers: how far they agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lorakit.cli.main import main
from lorakit.report.series import Numbers
from lorakit.report.two_runs import agreement, marked, page_text

NASTY = '</title><script>alert("x")</script><img src=x onerror=alert(1)>'


def numbers(loss: dict[int, float], **rates: dict[int, float]) -> Numbers:
    return Numbers(
        tuple(loss.items()), {name: tuple(points.items()) for name, points in rates.items()}
    )


def test_agreement_counts_only_the_steps_that_both_have_made() -> None:
    one = numbers({1: 0.5, 2: 0.5, 3: 0.5}, unet={1: 0.1, 2: 0.1, 3: 0.1}, text={1: 0.2, 2: 0.2})
    other = numbers({2: 0.5, 3: 0.25, 4: 9.0}, unet={1: 0.1, 2: 0.1, 4: 0.1}, text={1: 0.2, 2: 0.3})
    assert agreement(one, other).lines() == [
        "learning rate: equal at 1 of 2 common steps, first different at step 2",
        "loss: equal at 1 of 2 common steps; differs by 0.125 on average, by 0.25 at most (step 3)",
    ]
    assert agreement(one, one).lines() == [
        "learning rate: equal at all 2 common steps",
        "loss: equal at all 3 common steps",
    ]
    assert agreement(one, numbers({})).lines() == []


def test_the_rates_of_two_trainers_are_compared_whatever_they_call_them() -> None:
    assert (
        agreement(
            numbers({}, unet={1: 0.5}), numbers({}, **{"learning rate": {1: 0.5}})
        ).rates_equal
        == 1
    )


def test_words_that_only_one_side_has_are_marked() -> None:
    assert marked("fox, in the <deep> snow", "fox, in the rain") == (
        "fox, in the <mark>&lt;deep&gt; snow</mark>",
        "fox, in the <mark>rain</mark>",
    )


def test_curves_lie_over_each_other_and_one_caption_is_named(make_run: Any) -> None:
    captions = ("fox_kit, in the snow",) * 3
    one = make_run()
    other = make_run(
        run="20260102-120000",
        captions=("fox_kit, in the rain", *captions[1:]),
        apart=0.5,
        parts=[{"from_step": 50, "inexact": ["the order of images"]}],
    )
    text = page_text(one, other)
    assert (
        "Loss: equal at 50 of 100 common steps; differs by 0.25 on average, by 0.5 at most" in text
    )
    assert (
        text.count('class="line before"') == 2 * 2 + 2
        and text.count('class="line after"') == 3 * 2 + 2
    )
    assert text.count('class="cut"') == 3 * 2 and "resumed from step 50" in text
    assert "4_fox_kit_far/000.png.caption" in text and "fox_kit, in the <mark>rain</mark>" in text
    assert text.count("<tr>") == 2 * (1 + 1), "one difference under each of two heads"
    assert "the order of images" in text
    assert text.count("<figure>") == 2 * 2 * 2 and 'data-name="step 100"' in text
    assert "2 differences<" in text


def test_two_equal_runs_say_so(make_run: Any) -> None:
    text = page_text(make_run(), make_run(run="20260102-120000"))
    assert (
        "equal in everything that is recorded" in text
        and "Loss: equal at all 100 common steps." in text
    )
    assert "difference of the losses" not in text


def test_what_stands_in_files_is_text_and_nothing_comes_from_elsewhere(make_run: Any) -> None:
    one = make_run(captions=(NASTY,) * 3, name=NASTY, trigger=NASTY)
    other = make_run(run="20260102-120000", captions=(f"{NASTY} too",) * 3, preset=NASTY)
    (one / "prompts.toml").write_text(f"[prompt]\n[[prompt.subset]]\nprompt = '''{NASTY}'''\n")
    text = page_text(one, other)
    assert text.count("<script") == 1 and "<img src=x" not in text
    assert not re.search(r"https?://|@import|url\((?!#)| style=", text)


def test_a_run_without_a_step_has_a_page_too(make_run: Any) -> None:
    text = page_text(
        make_run(),
        make_run(run="20260102-120000", steps=0, sample_steps=(), state="failed", outcome={}),
    )
    assert (
        "One of the two has not made a step yet." in text
        and "no step at which both drew samples" in text
    )


def test_the_command_writes_the_page_and_says_the_curves(
    make_run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_run()
    make_run(run="20260102-120000", apart=0.5)
    monkeypatch.chdir(tmp_path)
    assert main(["diff", "fox/20260101", "latest", "--page", "both.html"]) == 0
    said = capsys.readouterr()
    assert "  learning rate: equal at all 100 common steps\n" in said.out and said.err.endswith(
        "Both on one page: both.html\n"
    )
    assert (tmp_path / "both.html").read_text().startswith("<!doctype html>")
    assert main(["diff", "fox/20260101", "latest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["curves"]["losses_equal"] == 50
    assert main(["diff", "fox/20260101", "latest", "--page", "runs"]) == 1
    assert "is a folder" in capsys.readouterr().err
