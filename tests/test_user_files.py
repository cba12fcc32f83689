"""Reading a file of the user's: whatever it is, an answer in words, and at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lorakit import json_text, tomllib, user_files
from lorakit.user_files import Missing, Unreadable


def test_only_regular_files_are_read_and_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "file").write_text("x")
    for name, why in {
        "pipe": "is a pipe, not a file.",
        "loop": "is a link that leads back to itself.",
        "zero": "is a device, not a file.",
        "": "is a folder, not a file.",
        "a" * 300: "File name too long.",
        "nul\0": "has a NUL in its name.",
    }.items():
        with pytest.raises(Unreadable) as caught:
            user_files.read_bytes(tmp_path / name)
        assert (caught.value.why, caught.value.exit_code) == (why, 1)
        assert name in str(caught.value)
    for name in ("gone", "file/below"):
        with pytest.raises(Missing):
            user_files.read_bytes(tmp_path / name)
    assert user_files.read_bytes(tmp_path / "file") == b"x"


def test_a_file_beyond_its_limit_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "big.toml"
    with path.open("wb") as file:
        file.truncate(10**11)
    with pytest.raises(Unreadable, match=r"100,000\.0 MB; more than 4\.2 MB is not read\."):
        user_files.read_text(path)
    path.write_bytes(b"abc")
    assert user_files.read_bytes(path, most=3) == b"abc"
    with pytest.raises(Unreadable):
        user_files.read_bytes(path, most=2)


def test_text_is_utf8_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes("\ufeffä".encode())
    assert user_files.read_text(path) == "ä"
    path.write_bytes(b"ok \xe4")
    with pytest.raises(Unreadable, match=r"a\.toml: byte 3 is not UTF-8\. Save it as UTF-8\."):
        user_files.read_text(path)


DEEP_JSON = ["[" * 100_000, '{"a":' * 100_000, "[" * 500 + "]" * 500, '{"a":' * 99 + "1" + "}" * 99]
DEEP_TOML = [
    "a = " + "[" * 100_000,
    "a." * 20_000 + "a = 1",
    "[" + "a." * 20_000 + "a]",
    "a = " + "{a = " * 500 + "1" + "}" * 500,
    "a = " + "[" * 90 + "]" * 90,
]


@pytest.mark.parametrize("text", DEEP_JSON, ids=range(len(DEEP_JSON)))
def test_deep_json_is_told_by_its_files_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(Unreadable, match=r"record\.json: is not JSON any more .*nested too deeply"):
        json_text.read(path)


@pytest.mark.parametrize("text", DEEP_TOML, ids=range(len(DEEP_TOML)))
def test_deep_toml_is_told_by_its_files_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "lock.toml"
    path.write_text(text)
    with pytest.raises(Unreadable, match=r"lock\.toml: is not valid TOML: .*nested too deeply"):
        tomllib.read(path)


def test_what_is_no_json_or_toml_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text('{"a": }')
    with pytest.raises(Unreadable, match="Expecting value: line 1 column 7"):
        json_text.read(path)
    with pytest.raises(Unreadable, match="at line 1"):
        tomllib.read(path)
    path.write_text("9" * 5000)
    with pytest.raises(Unreadable, match="a number has thousands of digits"):
        json_text.read(path)


def test_brackets_inside_words_are_not_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('["' + "[" * 1000 + '"]')
    assert json_text.read(path) == ["[" * 1000]
