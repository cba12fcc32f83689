"""Every test gets a home of its own: the real one is never read, except by tests that ask for the configured sd-scripts."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from drawings import photo
from plans_by_hand import make_plan, project

from lorakit import config

if (
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):  # a shell's background job ignores Ctrl-C, and so would the programs tried here
    signal.signal(signal.SIGINT, signal.default_int_handler)
__all__ = ["make_plan", "photo", "project"]  # fixtures for every room
REAL_CONFIG = {
    key: config.user_setting(key) for key in config.KEYS
}  # read once, before the home is taken away


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    for key in config.KEYS:
        monkeypatch.delenv(f"LORAKIT_{key.upper()}", raising=False)
    return home


@pytest.fixture
def sd_scripts(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configured sd-scripts checkout with an environment of its own; the test is skipped, aloud, where there is none."""
    of_theirs = {key: one for key, one in REAL_CONFIG.items() if key.startswith("sd_scripts")}
    if not all(of_theirs.values()):
        pytest.skip(
            "no sd-scripts configured (sd_scripts and sd_scripts_python in the user's config.toml)"
        )
    for key, setting in of_theirs.items():
        assert setting is not None
        monkeypatch.setenv(f"LORAKIT_{key.upper()}", setting[0])
    return Path(of_theirs["sd_scripts"][0])  # type: ignore[index]
