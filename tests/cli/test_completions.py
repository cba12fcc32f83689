"""What a real bash completes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lorakit.cli.completions import completed
from lorakit.cli.main import main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("maya.toml", "maya.lock.toml", "finn.toml"):
        (tmp_path / "recipes").mkdir(exist_ok=True)
        (tmp_path / "recipes" / name).write_text("")
    (tmp_path / "runs" / "maya" / "20260101-120000").mkdir(parents=True)
    (tmp_path / "sweeps" / "rank").mkdir(parents=True)
    (tmp_path / "sweeps" / "rank" / "sweep.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (["tra"], {"train"}),
        (["dataset", "bun"], {"bundle"}),
        (["train", ""], {"maya", "finn"}),
        (["train", "m"], {"maya"}),
        (["train", "maya", "--lo"], {"--locked"}),
        (["watch", "maya/"], {"maya/20260101-120000"}),
        (["watch", "l"], {"latest"}),
        (["sweep", "run", "r"], {"rank"}),
        (["sweep", "run", "rank", "--on", "s"], {"slurm", "sky", "ssh:"}),
        (["new", "x", "--preset", "sdxl-1"], {"sdxl-12gb"}),
        (["nonsense", ""], set()),
    ],
)
def test_a_word_becomes_what_fits_its_place(
    words: list[str], some: set[str], project: Path
) -> None:
    assert set(completed(words)) >= some
    assert all(one.startswith(words[-1]) for one in completed(words))


@pytest.mark.slow
def test_a_real_bash_completes_a_recipe(project: Path, tmp_path: Path) -> None:
    if not shutil.which("bash"):
        pytest.skip("no bash here")
    program = tmp_path / "bin" / "lorakit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m lorakit "$@"\n')
    program.chmod(0o755)
    script = (
        f'PATH={program.parent}:$PATH; eval "$(lorakit completions bash)"\n'
        "COMP_WORDS=(lorakit train m); COMP_CWORD=2; _lorakit\n"
        'echo "${COMPREPLY[@]}"; complete -p lorakit\n'
    )
    said = subprocess.check_output(["bash", "-c", script], text=True)
    assert said.splitlines() == ["maya", "complete -o default -F _lorakit lorakit"]


def test_zsh_takes_its_script(capsys: pytest.CaptureFixture[str]) -> None:
    main(["completions", "zsh"])
    text = capsys.readouterr().out
    if not shutil.which("zsh"):
        pytest.skip("no zsh here")
    assert subprocess.run(["zsh", "-n"], input=text, text=True).returncode == 0
