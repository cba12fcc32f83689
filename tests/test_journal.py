"""A journal keeps what was written in full, whatever a kill did to its last line."""

from __future__ import annotations

from pathlib import Path

from lorakit.journal import Journal


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "log.jsonl")
    assert journal.read() == []
    journal.append({"n": 1})
    journal.append({"n": "zwei\u2028drei"})
    assert journal.read() == [{"n": 1}, {"n": "zwei\u2028drei"}]
    journal.rewrite(journal.read()[:1])
    assert journal.read() == [{"n": 1}]
    journal.clear()
    journal.clear()
    assert journal.read() == []


def test_a_line_cut_by_a_kill_spoils_no_later_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl")
    journal.append({"n": 1})
    with journal.path.open("ab") as file:
        file.write(b'{"n": "\xc3')
    assert journal.read() == [{"n": 1}]
    journal.append({"n": 2})
    assert journal.read() == [{"n": 1}, {"n": 2}]
