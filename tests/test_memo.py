"""What is known about a file is kept while it stands still, and forgotten when it changes."""

from __future__ import annotations

import os
from pathlib import Path

from lorakit.memo import Memo


def test_a_value_is_known_until_the_file_changes(tmp_path: Path) -> None:
    path, place = tmp_path / "a", tmp_path / "memo.json"
    path.write_text("one")
    memo = Memo(place)
    assert memo.get(path) is None
    memo.put(path, {"n": 1})
    memo.save()
    assert Memo(place).get(path) == {"n": 1}
    os.utime(path, ns=(0, 1))
    assert Memo(place).get(path) is None


def test_a_file_that_changes_while_it_is_read_is_remembered_for_nobody(tmp_path: Path) -> None:
    path, memo = tmp_path / "a", Memo(tmp_path / "memo.json")
    path.write_text("one")
    memo.get(path)
    path.write_text("three")
    memo.put(path, "of one, or of three")
    assert memo.get(path) is None


def test_two_memories_saved_in_turn_keep_both_values_unless_asked_to_forget(tmp_path: Path) -> None:
    place, a, b = tmp_path / "memo.json", tmp_path / "a", tmp_path / "b"
    for path in (a, b):
        path.write_text(path.name)
    one, two = Memo(place), Memo(place)
    one.put(a, 1)
    two.put(b, 2)
    one.save()
    two.save()
    third = Memo(place)
    assert (third.get(a), Memo(place).get(b)) == (1, 2)
    third.save(forget_others=True)
    assert (Memo(place).get(a), Memo(place).get(b)) == (1, None)


def test_a_spoilt_memory_is_an_empty_one(tmp_path: Path) -> None:
    place, path = tmp_path / "memo.json", tmp_path / "a"
    path.write_text("one")
    for text in ("", "[]", '{"' + str(path) + '": 3}', "\0"):
        place.write_text(text)
        assert Memo(place).get(path) is None


def test_a_link_and_what_it_leads_to_are_one_file(tmp_path: Path) -> None:
    path, link, folder = tmp_path / "a", tmp_path / "link", tmp_path / "folder"
    path.write_text("one")
    link.symlink_to(path)
    folder.symlink_to(tmp_path)
    memo = Memo(tmp_path / "memo.json")
    memo.put(link, 1)
    assert (memo.get(path), memo.get(folder / "a")) == (1, 1)
