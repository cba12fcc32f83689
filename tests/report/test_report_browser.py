"""The page in a real browser: nothing asked of the network, no complaint, fits a phone, the slider moves by keyboard."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lorakit.report.make import make_report
from lorakit.report.two_runs import write_page

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LONG = "fox_kit, " + "averylongwordwithoutanyspace" * 6 + ", soft light"


@pytest.mark.browser
def test_wide_and_narrow_light_and_dark(make_run: Any) -> None:
    look_at(
        make_report(
            make_run(
                captions=(LONG,) * 12, sample_steps=(20, 40, 60, 80, 100), name="fox-" + "long" * 20
            )
        )
    )


@pytest.mark.browser
def test_two_runs_on_one_page(make_run: Any, tmp_path: Path) -> None:
    steps = (20, 40, 60, 80, 100)
    one = make_run(sample_steps=steps)
    other = make_run(
        run="20260102-120000",
        captions=(LONG, "fox_kit", "fox_kit"),
        sample_steps=steps,
        apart=0.1,
        parts=[{"from_step": 40}],
    )
    look_at(write_page(one, other, tmp_path / "both.html"))


def look_at(path: Path) -> None:
    """Wide and narrow, light and dark: it fits, its pictures are there, it says nothing and asks for nothing."""
    chromium = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or pytest.skip("no chromium here")
    )
    playwright = pytest.importorskip("playwright.sync_api")
    said: list[str] = []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        papers = set()
        for width, scheme in (
            (1280, "light"),
            (1280, "dark"),
            (700, "light"),
            (400, "light"),
            (400, "dark"),
            (320, "light"),
        ):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on(
                "request",
                lambda request: (
                    None
                    if request.url.startswith(("data:", path.as_uri()))
                    else said.append(request.url)
                ),
            )
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(
                "[...document.images].filter(i => i.checkVisibility()).every(i => i.complete && i.naturalWidth > 0)"
            )
            assert page.locator(".chart.wide").first.is_visible() == (width > 700)
            assert page.locator(".chart.narrow").first.is_visible() == (width <= 700)
            papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            _slide(page)
            page.close()
        browser.close()
    assert said == []
    assert len(papers) == 2, "light and dark differ"


def _slide(page: Any) -> None:
    """By keyboard alone: the last step is shown first, arrows and Home move, the space bar shows all of them."""
    visible = "[...document.querySelectorAll('.step')].filter(s => s.checkVisibility())"

    def shown() -> Any:
        return page.evaluate(f"{visible}.map(s => s.dataset.name)")

    assert shown() == ["step 100"]
    page.focus("#step")
    page.keyboard.press("ArrowLeft")
    assert (shown(), page.inner_text("#shown")) == (["step 80"], "step 80")
    page.keyboard.press("Home")
    assert shown() == ["step 20"]
    assert page.get_attribute("#step", "aria-valuetext") == "step 20"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert len(shown()) == 5
