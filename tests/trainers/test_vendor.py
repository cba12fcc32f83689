"""`make vendor`: what it installs, what it leaves out, and what it says where there is no way to the repository."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pace import PATIENCE_S, until

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
    until((tmp_path / "started").exists)
    os.killpg(child.pid, signal.SIGINT)
    _, output = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 130
    assert "Run it again" in output
    assert "Traceback" not in output


def test_a_broken_environment_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "sd-scripts").mkdir()
    (tmp_path / "sd-scripts" / "torch.py").touch()  # a small one
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


def a_python(folder: Path, name: str, version: str, *, works: bool = True) -> Path:
    """A stand-in that answers `-c CODE` as a Python of this version would."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{version}'\nexit {0 if works else 1}\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def test_on_a_newer_python_the_newest_that_sd_scripts_can_use_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_python(tmp_path, "python3.10", "3 10")
    wanted = a_python(tmp_path, "python3.11", "3 11")
    a_python(tmp_path, "python3.12", "3 12", works=False)  # a pyenv shim without a version behind
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    newer = a_python(tmp_path, "python3.14", "3 14")
    assert vendor.fitting_python(str(newer)) == str(wanted)


def test_a_python_that_fits_is_used_as_it_is(tmp_path: Path) -> None:
    ours = a_python(tmp_path, "mine", "3 12")
    assert vendor.fitting_python(str(ours)) == str(ours)


def test_one_of_pyenv_or_of_uv_is_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = a_python(tmp_path / "new", "python3", "3 13")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin-without-any")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    managed = a_python(tmp_path / "uv", "python3.12", "3 12")
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f'#!/bin/sh\n[ "$3" = 3.12 ] && echo {managed}\n', encoding="utf-8")
    uv.chmod(0o755)
    assert vendor.fitting_python(str(newer)) == str(managed)
    built = a_python(tmp_path / "pyenv" / "versions" / "3.12.1" / "bin", "python", "3 12")
    a_python(tmp_path / "pyenv" / "versions" / "3.13.0" / "bin", "python", "3 13")
    assert vendor.fitting_python(str(newer)) == str(built)


def test_where_no_python_fits_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    newer = a_python(tmp_path, "python3.14", "3 14")
    with pytest.raises(SystemExit) as raised:
        vendor.fitting_python(str(newer))
    told = str(raised.value)
    assert "3.10, 3.11 or 3.12" in told
    for way in ("uv python install 3.12", "pyenv install 3.12", "brew install python@3.12"):
        assert way in told


def test_musubis_requirements_come_from_its_project_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["accelerate==1.6.0", "bitsandbytes"]\n', encoding="utf-8"
    )
    wanted, left_out = vendor.requirements(vendor.dependencies_of(tmp_path), "cpu")
    assert wanted[2:] == ["accelerate==1.6.0", "tensorboard"]
    assert left_out == ["bitsandbytes"]


def test_both_submodules_are_at_their_pins() -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-s", "vendor"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for one in (vendor.SD_SCRIPTS, vendor.MUSUBI_TUNER):
        assert f"160000 {one.home.pin} 0\tvendor/{one.home.folder.name}" in listed


@pytest.mark.real
def test_a_checkout_of_musubi_at_the_pin_is_left_alone_and_proved(
    musubi_tuner: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    vendor.check_out(musubi_tuner.parent, musubi_tuner, vendor.MUSUBI_TUNER)
    vendor.prove(vendor.MUSUBI_TUNER.home.require().python, musubi_tuner, vendor.MUSUBI_TUNER)
    assert "musubi-tuner imports" in capfd.readouterr().out
