"""Tail: any bytes become lines, whatever the pieces they arrive in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorakit.logfile import MAX_LINE_BYTES, Tail, last_lines, text_of, without_launcher


def last_of(tail: Tail) -> list[bytes]:
    return [line for part in tail.drain() for line in part]


def fed(path: Path, *pieces: bytes) -> list[bytes]:
    tail, lines = Tail(path), []
    for piece in pieces:
        with path.open("ab") as file:
            file.write(piece)
        lines += tail.read()
    return lines + last_of(tail)


def test_carriage_returns_and_newlines_both_end_a_line(tmp_path: Path) -> None:
    assert fed(tmp_path / "log", b"one\rtwo\r\nthree\n\nfour") == [
        b"one",
        b"two",
        b"three",
        b"four",
    ]


def test_a_file_that_appears_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "log")
    assert tail.read() == []
    (tmp_path / "log").write_bytes(b"now\n")
    assert last_of(tail) == [b"now"]


def test_a_line_of_a_megabyte_is_cut_and_the_next_one_is_intact(tmp_path: Path) -> None:
    lines = fed(tmp_path / "log", b"x" * 1_000_000, b"y" * 500_000 + b"\nafter\n")
    assert [len(line) for line in lines] == [MAX_LINE_BYTES, 5]


def test_an_endless_line_does_not_grow_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    for _ in range(5):
        with path.open("ab") as file:
            file.write(b"x" * 300_000)
        tail.read()
    assert len(tail._rest) <= MAX_LINE_BYTES
    last_of(tail)


@pytest.mark.slow
@given(st.lists(st.text(alphabet="ab\r\n", max_size=12)))
def test_pieces_make_no_difference(pieces: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        whole = "".join(pieces)
        assert fed(Path(folder) / "log", *[piece.encode() for piece in pieces]) == [
            line.encode() for line in whole.replace("\r", "\n").split("\n") if line
        ]


def test_text_is_fit_for_a_terminal() -> None:
    assert text_of(b"\x1b[31mred\x1b[0m \x1b]0;title\x07\xff \x00end  ") == "red � end"


def test_last_lines_show_a_redrawn_bar_once(tmp_path: Path) -> None:
    bar = b"".join(
        b"\rsteps:  %2d%%|## | %d/99 [00:01<00:02, 1it/s]" % (n, n) for n in range(1, 99)
    )
    (tmp_path / "log").write_bytes(b"start\n" + bar + b"\nTraceback\nValueError: no\n")
    assert last_lines(tmp_path / "log", 40) == [
        "start",
        "steps:  98%|## | 98/99 [00:01<00:02, 1it/s]",
        "Traceback",
        "ValueError: no",
    ]


def test_last_lines_of_a_huge_log_are_found_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        file.seek(200_000_000)  # a hole: 200 MB that cost nothing
        file.write(b"\nthe end\n")
    assert last_lines(tmp_path / "log", 2)[-1] == "the end"


def test_no_log_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "log", 5) == []


def test_who_comes_late_to_a_long_log_gets_it_in_parts(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"steps: 1\r" * 1_000_000 + b"the end")
    tail = Tail(tmp_path / "log")
    first = tail.read()
    assert tail.behind
    assert len(first) < 600_000
    rest = list(tail.drain())
    assert len(rest) == 2
    assert rest[-1][-1] == b"the end"
    assert len(first) + sum(map(len, rest)) == 1_000_001


def test_the_launchers_own_traceback_is_left_out_and_only_that() -> None:
    ours = [
        "Traceback (most recent call last):",
        '  File "train_network.py", line 1, in <module>',
        "KeyError: 'tea'",
    ]
    theirs = [
        "Traceback (most recent call last):",
        '  File "accelerate/commands/launch.py", line 1, in simple_launcher',
        "subprocess.CalledProcessError: Command '[...]' returned non-zero exit status 1.",
    ]
    assert without_launcher(["steps", *ours, *theirs]) == ["steps", *ours]
    assert without_launcher(["steps: 5%|  ]Traceback (most recent call last):", *theirs[1:]]) == [
        "steps: 5%|  ]"
    ]
    assert without_launcher([*theirs[1:]]) == theirs[1:2]  # it begins further up
    assert without_launcher(["steps", *ours]) == ["steps", *ours]
