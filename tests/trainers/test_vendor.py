"""`make vendor`: what it installs, what it leaves out, and what it says where there is no way to the repository."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import vendor  # noqa: E402  (tools/ is not a package)

TEXT = "accelerate==1.6.0\n# timm==0.6\nbitsandbytes\nrich==14.1.0  # words\n\n-e .\n"


def test_comments_and_the_package_itself_are_no_requirements() -> None:
    wanted, left_out = vendor.requirements(TEXT, "cuda")
    assert wanted == [
        "torch==2.8.0",
        "torchvision==0.23.0",
        "accelerate==1.6.0",
        "bitsandbytes",
        "rich==14.1.0",
    ]
    assert left_out == []


@pytest.mark.parametrize("accelerator", ["cpu", "mps"])
def test_what_needs_cuda_is_left_out_and_named(accelerator: str) -> None:
    wanted, left_out = vendor.requirements(TEXT, accelerator)
    assert "bitsandbytes" not in wanted
    assert left_out == ["bitsandbytes"]


def test_without_a_way_to_the_repository_it_names_the_two_variables(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import vendor, pathlib; vendor.main(pathlib.Path(sys.argv[2]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "tools"), str(tmp_path / "vendor")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "LORAKIT_SD_SCRIPTS=" in done.stderr
    assert "LORAKIT_SD_SCRIPTS_PYTHON=" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_it_in_two_lines(tmp_path: Path) -> None:
    git = tmp_path / "git"
    git.write_text(
        "#!/bin/sh\n: > ${0%/*}/started\nexec sleep 60\n", encoding="utf-8"
    )  # one process, to be ended by one signal
    git.chmod(0o755)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import vendor, pathlib; sys.exit(vendor.main(pathlib.Path(sys.argv[2])))"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(ROOT / "tools"), str(tmp_path / "vendor")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )
    while not (tmp_path / "started").exists():
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGINT)
    _, output = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "Run it again" in output
    assert "Traceback" not in output


def test_a_broken_environment_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "sd-scripts").mkdir()
    with pytest.raises(SystemExit, match="cannot import sd-scripts") as caught:
        vendor.prove(Path(sys.executable), tmp_path / "sd-scripts")
    assert "No module named 'library'" in str(caught.value)


@pytest.mark.real
def test_a_checkout_at_the_pin_is_left_alone_and_proved(
    sd_scripts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from lorakit.trainers.kohya.locate import require

    vendor.check_out(sd_scripts.parent, sd_scripts)
    vendor.prove(require().python, sd_scripts)
    assert "sd-scripts imports" in capfd.readouterr().out
