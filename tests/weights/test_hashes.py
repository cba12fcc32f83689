"""Hashes are true, remembered while a file stands still, and written down once however many there are."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from lorakit.config import cache_dir
from lorakit.weights.hashes import SMALL, path_digest, sha256_of_all


def test_many_files_are_hashed_and_the_big_ones_remembered(tmp_path: Path) -> None:
    contents = {
        tmp_path / f"{n}.bin": os.urandom(SMALL + n if n % 2 else 100 * n) for n in range(6)
    }
    for path, content in contents.items():
        path.write_bytes(content)
    missing = tmp_path / "gone"
    found = sha256_of_all([*contents, missing, missing])
    assert found == {
        **{path: hashlib.sha256(content).hexdigest() for path, content in contents.items()},
        missing: None,
    }
    assert list(found) == [*contents, missing]
    assert sorted(
        Path(name).name for name in json.loads((cache_dir() / "hashes.json").read_text())
    ) == ["1.bin", "3.bin", "5.bin"]


def test_a_file_that_stands_still_is_not_read_again_and_a_changed_one_is(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(SMALL))
    first, stat = path_digest(path)[0], path.stat()
    path.write_bytes(b"\1" * SMALL)
    os.utime(
        path, ns=(stat.st_atime_ns, stat.st_mtime_ns)
    )  # nobody can see this one; it proves that the memory is used
    assert path_digest(path)[0] == first
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert path_digest(path)[0] == hashlib.sha256(b"\1" * SMALL).hexdigest()


def test_a_folder_has_one_hash_over_its_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a").write_bytes(b"one")
    before, size = path_digest(tmp_path)
    (tmp_path / "unet" / "a").rename(tmp_path / "unet" / "b")
    assert size == 3
    assert path_digest(tmp_path)[0] != before
