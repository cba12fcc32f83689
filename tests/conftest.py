"""Every test gets a home of its own: the real one is never read, except by tests that ask for the configured sd-scripts."""

from __future__ import annotations

import gc
import itertools
import os
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest
from drawings import photo
from hypothesis import settings
from plans_by_hand import FAKES, make_plan, project

from lorakit import config
from lorakit.run.watch import supervise

if (
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):  # a shell's background job ignores Ctrl-C, and so would the programs tried here
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: more threads only wait
    os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("unhurried", deadline=None)  # on a busy machine any example may be slow
settings.load_profile("unhurried")
__all__ = ["make_plan", "photo", "project"]  # fixtures for every room
REAL_CONFIG = {
    key: config.user_setting(key) for key in config.KEYS
}  # read once, before the home is taken away
NUMBERS = itertools.count()
supervise.GLANCE_S = 0.02  # hundreds of stand-ins end within a tenth of a second


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: one worker would have it at the end, alone."""
    items.sort(key=lambda item: "tests/toy/test_demo" not in item.nodeid)


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay to the end: nothing to look through for garbage."""
    gc.collect()
    gc.freeze()


def new_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Without reading the list of all folders for each new one, as pytest's own numbering does."""
    folder = factory.getbasetemp() / f"{name}-{next(NUMBERS)}"
    folder.mkdir()
    return folder


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return new_folder(tmp_path_factory, re.sub(r"\W", "_", request.node.name)[:30])


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = new_folder(tmp_path_factory, "home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    for key in config.KEYS:
        monkeypatch.delenv(f"LORAKIT_{key.upper()}", raising=False)
    return home


@pytest.fixture
def python_at_once(tmp_path: Path) -> Path:
    """A Python that starts at once what accelerate's launcher would start after some seconds."""
    file = tmp_path / "python"
    words = [sys.executable, str(FAKES / "launches_at_once.py")]
    file.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    file.chmod(0o755)
    return file


@pytest.fixture
def sd_scripts(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configured sd-scripts checkout with an environment of its own; the test is skipped, aloud, where there is none."""
    return _checkout("sd_scripts", monkeypatch)


@pytest.fixture
def musubi_tuner(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same of musubi-tuner."""
    return _checkout("musubi", monkeypatch)


@pytest.fixture
def ai_toolkit(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same of ai-toolkit."""
    return _checkout("ai_toolkit", monkeypatch)


def _checkout(key: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    place, python = REAL_CONFIG[key], REAL_CONFIG[f"{key}_python"]
    if not place or not python:
        pytest.skip(f"{key} and {key}_python are not configured (user's config.toml)")
    monkeypatch.setenv(f"LORAKIT_{key.upper()}", place[0])
    monkeypatch.setenv(f"LORAKIT_{key.upper()}_PYTHON", python[0])
    return Path(place[0])
