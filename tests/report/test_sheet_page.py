"""The sheet as a page: whole in one file, hostile words are words, the judge's numbers stand beside the cells, and in a
browser a winner is marked by key and by touch.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorakit.report.sheet_page import write_sheet_page
from lorakit.sheet.grid import Column, Sheet

EVIL = '</script><img src=x onerror=alert(1)> & "quotes"'


@pytest.fixture
def page(tmp_path: Path) -> Path:
    run_dir = tmp_path / "runs" / "maya" / "20260101-120000"
    run_dir.mkdir(parents=True)
    judged = {"checkpoint": "maya.safetensors", "label": "final", "strength": 0.8}
    judged |= {"verdict": "listed", "held": -0.58, "behind": 0.0, "drift": 0.0015}
    seen = {"with trigger": 0.9, "without": 0.25, "<b>": 0.31}
    told = {"held_out": 10, "cells": [judged | {"seen": seen}], "reason": "because"}
    data = {"schema": 1, "judged": told | {"base": {"nearest": 0.44}}}
    (run_dir / "record.json").write_text(json.dumps(data))
    columns = (
        Column("base"),
        Column("final", Path("/x/maya.safetensors"), 0.8),
        Column(EVIL, Path("/x/maya 2;.safetensors"), 1.0),
    )
    pictures = {}
    for column, colour in enumerate(("red", "green", "blue")):
        for row in range(2):
            files = [tmp_path / f"{column}{row}{seed}.png" for seed in range(2)]
            for file in files:
                Image.new("RGB", (64, 64), colour).save(file)
            pictures[row, column] = tuple(files)
    sheet = Sheet(EVIL, columns, ("maya", EVIL), pictures, "64 x 64")
    write_sheet_page(sheet, run_dir, run_dir / "sheet.html")
    return run_dir / "sheet.html"


def test_words_from_files_are_never_markup_and_nothing_is_asked_of_the_network(page: Path) -> None:
    text = page.read_text()
    assert "<img src=x" not in text
    assert len(re.findall(r"</script>", text)) == 2
    assert not re.search(r"https?://", text)
    assert "default-src &#x27;none&#x27;" in text


def test_the_judges_numbers_and_a_command_to_paste_are_there(page: Path) -> None:
    text = page.read_text()
    assert "because" in text
    assert 'class="verdict listed"' in text
    assert "held-out -0.580" in text
    assert "with trigger 0.9<br>without 0.25<br>&lt;b&gt; 0.31" in text
    assert "nearest 0.44" in text  # the base's own
    found = re.search(r'id="cells">(.*?)</script>', text)
    assert found is not None
    cells = json.loads(found[1])
    assert [cell["command"] for cell in cells] == [
        "",
        "lorakit note maya/20260101-120000 --chosen maya.safetensors --strength 0.8",
        "lorakit note maya/20260101-120000 --chosen 'maya 2;.safetensors' --strength 1",
    ]


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1400])
def test_pictures_are_compared_and_a_winner_is_marked(page: Path, width: int) -> None:
    chromium = shutil.which("chromium") or pytest.skip("no chromium here")
    playwright = pytest.importorskip("playwright.sync_api")
    said: list[str] = []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 800}, has_touch=width < 500)
        tab.on("console", lambda one: said.append(one.text))
        tab.on("pageerror", lambda one: said.append(str(one)))
        tab.on("request", lambda one: said.append(one.url) if "://" in one.url[4:9] else None)
        tab.goto(page.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        press(tab, width, "open")
        press(tab, width, "c")  # beside it the next cell
        assert tab.locator("#pair.two").count() == 1
        assert tab.locator("#otherwhat").text_content().startswith("final, strength 0.8 · listed")
        press(tab, width, "f")
        assert tab.locator("#pair.two").count() == 0
        press(tab, width, "f")
        press(tab, width, "ArrowLeft")
        press(tab, width, "ArrowDown")
        assert tab.locator("#what").text_content() == EVIL
        press(tab, width, "w")
        press(tab, width, "Escape")
        assert tab.locator("#command").text_content().endswith("maya.safetensors --strength 0.8")
        assert tab.locator("td.won").count() == 2
        browser.close()
    assert [one for one in said if not one.startswith("file:")] == []


@pytest.mark.browser
def test_columns_are_grouped_by_strength_and_back_and_the_arrows_follow(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or pytest.skip("no chromium here")
    playwright = pytest.importorskip("playwright.sync_api")
    run_dir = tmp_path / "runs" / "maya" / "20260101-120000"
    run_dir.mkdir(parents=True)
    (run_dir / "record.json").write_text('{"schema": 1}')
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    pairs = [(label, strength) for label in ("epoch 2", "final") for strength in (0.6, 1.0)]
    columns = (
        Column("base"),
        *(Column(one, Path(f"/x/{one}.safetensors"), by) for one, by in pairs),
    )
    pictures = {(0, column): (tmp_path / "a.png",) for column in range(5)}
    write_sheet_page(Sheet("t", columns, ("maya",), pictures), run_dir, tmp_path / "sheet.html")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto((tmp_path / "sheet.html").as_uri())
        heads = tab.locator("thead th[data-column]")
        before = heads.all_text_contents()
        tab.locator("#swap").press("Enter")
        assert [one.split("strength")[0] for one in heads.all_text_contents()[1:]] == [
            *("epoch 2", "final"),
            *("epoch 2", "final"),
        ]
        tab.locator(".shots button").nth(1).press("Enter")
        tab.keyboard.press("ArrowRight")
        assert tab.locator("#largewhat").text_content() == "final, strength 0.6"
        tab.keyboard.press("Escape")
        tab.locator("#swap").press("Enter")
        assert heads.all_text_contents() == before
        browser.close()


def press(tab: Any, width: int, key: str) -> None:
    shot = tab.locator(".shots button").nth(2)
    if width < 500:
        (shot if key == "open" else tab.locator(f"[data-key={key}]")).tap()
    elif key == "open":
        shot.focus()
        tab.keyboard.press("Enter")
    else:
        tab.keyboard.press(key)
