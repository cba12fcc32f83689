"""The ground floor: errors, files, configuration, the door to other programs, and how sizes read."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from lorakit import config, show
from lorakit.errors import Fault, RecipeError, SetupError, counted, did_you_mean, raise_on_errors
from lorakit.files import sha256, write_atomic
from lorakit.machine import free_disk, this_machine
from lorakit.proc import ask


def test_all_faults_are_raised_at_once_and_counted() -> None:
    faults = [
        Fault("a.toml [train] x", "no such option.", "Did you mean y?"),
        Fault("b", "odd", severity="warning"),
        Fault("c", "wrong"),
    ]
    with pytest.raises(RecipeError, match="2 problems; nothing was started") as raised:
        raise_on_errors(faults)
    assert str(raised.value).splitlines()[0] == "a.toml [train] x: no such option. Did you mean y?"


def test_warnings_alone_raise_nothing() -> None:
    raise_on_errors([Fault("a", "odd", severity="warning")])


def test_a_wild_guess_is_not_offered() -> None:
    assert did_you_mean("netwrok_dim", ["network_dim", "seed"]) == "Did you mean network_dim?"
    assert did_you_mean("zzz", ["network_dim"]) == ""


def test_a_failed_write_leaves_the_old_file_intact(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    write_atomic(path, "old")
    with pytest.raises(TypeError):
        write_atomic(path, 5)  # type: ignore[arg-type]
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.toml"]


def test_a_rewritten_file_keeps_its_permissions_and_a_new_one_obeys_the_umask(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a"
    old = os.umask(0o027)
    try:
        write_atomic(path, "1")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        write_atomic(path, "2")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old)


def test_sha256_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf")


def test_a_program_that_is_missing_or_hangs_gives_an_answer() -> None:
    assert ask(["no-such-program-anywhere"]).code == 127
    assert ask([sys.executable, "-c", "import time; time.sleep(9)"], timeout_s=0.2).code == 124
    assert ask([sys.executable, "-c", "import os; os.write(1, b'\\xff ok')"]).out == "\ufffd ok"


def test_the_environment_wins_over_the_users_config(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.user_setting("sd_scripts") is None
    write_atomic(config.config_path(), 'sd_scripts = "/from/file"\n')
    assert config.user_setting("sd_scripts") == ("/from/file", str(config.config_path()))
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", "/from/env")
    assert config.user_setting("sd_scripts") == ("/from/env", "LORAKIT_SD_SCRIPTS")


def test_a_typo_in_the_users_config_is_named() -> None:
    write_atomic(config.config_path(), 'sd_script = "/x"\n')
    with pytest.raises(SetupError, match="Did you mean sd_scripts?"):
        config.user_setting("sd_scripts")


def test_the_machine_is_known_and_a_folder_to_come_has_free_disk(tmp_path: Path) -> None:
    assert this_machine().cpu_count >= 1
    assert free_disk(tmp_path / "not" / "yet" / "there") > 0


def test_sizes_and_durations_read_as_people_say_them() -> None:
    assert [show.size(n) for n in (12, 151_000_000, 2_100_000_000, 37_900)] == [
        "12 B",
        "151 MB",
        "2.1 GB",
        "38 kB",
    ]
    assert [show.duration(s) for s in (45, 720, 11_100)] == ["45 s", "12 min", "3 h 05 min"]


def test_what_cannot_be_printed_is_spelt_out_on_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show.say_faults([Fault("a\nb", "says \x1b[2J.", severity="note")])
    assert capsys.readouterr().err == "note: a\\nb: says \\x1b[2J.\n"


def test_one_is_not_written_in_the_plural() -> None:
    assert [counted(count, "epoch") for count in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]


def test_tables_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(["name", "n"], [["a", 1], ["long", 200]], right=["n"])
    assert capsys.readouterr().out == "name    n\na       1\nlong  200\n"
