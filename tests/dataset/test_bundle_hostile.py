"""Bundles made by hand to be unpacked where or as they should not."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lorakit.cli.main import main
from lorakit.dataset.share import bundle
from lorakit.errors import RecipeError


def crafted(path: Path, files: dict[str, bytes], **changes: Any) -> Path:
    """A bundle of these files, with a manifest that says so, but for `changes` of the first."""
    rows: dict[str, dict[str, Any]] = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    }
    rows[next(iter(rows))] |= changes
    manifest = {"version": 1, "dataset": "x", "counts": {}, "files": rows}
    text = json.dumps(manifest).replace('"1e400"', "1e400")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(zipfile.ZipInfo("manifest.json"), text)
        for name, data in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name
            file.writestr(info, data)
    return path


@pytest.mark.parametrize(
    "names",
    [
        ("10_x/a.png", "10_x/./a.png"),
        ("10_x/a.png", "10_x//a.png"),
        ("10_x/a.png", "./10_x/a.png"),
        ("10_x/a.png", "10_x/b/../a.png"),
        ("10_x/a.png", "10_x\\a.png"),
        ("10_x/a.png", "10_X/A.PNG"),
        ("10_x/\u00e4.png", "10_x/a\u0308.png"),
        ("10_x/a.png", "10_x/a.png."),
        ("10_x/a.png", "10_x/a.png "),
        ("10_x/a.png", "10_x/a.png/b.png"),
        ("10_x/a.png", "10_X/A.png/b.png"),
        ("10_x/a.png", "10_x/con.png"),
        ("10_x/a.png", "nul/a.png"),
        ("10_x/a.png", "10_x/COM1"),
        ("10_x/a.png", ""),
        ("10_x/a.png", "/"),
        ("10_x/a.png", "."),
        ("10_x/a.png", ".."),
        ("10_x/a.png", "../a.png"),
        ("10_x/a.png", "/tmp/a.png"),
        ("10_x/a.png", "\\\\host\\a.png"),
        ("10_x/a.png", "C:/a.png"),
        ("10_x/a.png", "10_x/a:b.png"),
        ("10_x/a.png", "10_x/\x1b[2J.png"),
        ("10_x/a.png", "10_x/" + "b" * 300 + ".png"),
    ],
)
def test_a_name_that_is_not_one_plain_path_everywhere_is_refused(
    tmp_path: Path, names: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = crafted(tmp_path / "x.zip", {names[0]: b"one", names[1]: b"two"})
    assert main(["dataset", "bundle", "verify", str(path), "--unpack", str(tmp_path / "d")]) == 1
    assert "nothing was unpacked" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", ["1e400", -1, True, None, "3", 3.5, 1 << 70, [3], 2, 4])
def test_a_size_that_is_none_is_a_clear_error(
    tmp_path: Path, size: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = crafted(tmp_path / "x.zip", {"10_x/a.png": b"one"}, size=size)
    assert main(["dataset", "bundle", "verify", str(path)]) == 1
    assert "x.zip" in capsys.readouterr().err


@pytest.mark.parametrize("digest", [None, 3, "", "x" * 64, ["a"]])
def test_a_hash_that_is_none_is_a_clear_error(tmp_path: Path, digest: Any) -> None:
    path = crafted(tmp_path / "x.zip", {"10_x/a.png": b"one"}, sha256=digest)
    with pytest.raises(RecipeError):
        bundle.unpack(path, tmp_path / "d")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[]", "null", '{"version": 1}', '{"version": 1, "files": [], "dataset": 1}'],
)
def test_a_manifest_that_makes_no_sense_is_a_clear_error(tmp_path: Path, text: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(zipfile.ZipInfo("manifest.json"), text)
    with pytest.raises(RecipeError, match="no usable manifest"):
        bundle.verify(tmp_path / "x.zip")


def test_a_bundle_of_broken_bytes_is_never_a_crash(tmp_path: Path) -> None:
    good = crafted(tmp_path / "good.zip", {"10_x/a.png": b"one"}).read_bytes()
    bad = tmp_path / "bad.zip"
    bad.write_bytes(good)
    for at in range(len(good)):
        for flip in (0x01, 0x80, 0xFF):
            with bad.open("r+b") as file:  # made anew each time, a disk may flush it each time
                file.write(good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :])
            try:
                bundle.verify(bad)
            except RecipeError:
                continue


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.zip")
    with pytest.raises(RecipeError, match="not a regular file"):
        bundle.verify(tmp_path / "x.zip")
