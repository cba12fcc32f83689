"""Names and captions as real folders have them: 255 bytes, not UTF-8, upper case, line separators; nothing crashes, nothing is lost."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lorakit.cli.main import entry, main
from lorakit.dataset.build.fit import Settings
from lorakit.dataset.build.jobs import jobs_of
from lorakit.dataset.build.manifest import SubsetPlan
from lorakit.dataset.build.originals import add
from lorakit.dataset.build.prepare import prepare
from lorakit.dataset.captions.edit import Change, History
from lorakit.dataset.choose.rank import rank, with_scores, write_rankings

Photo = Callable[..., Path]
FOX = SubsetPlan(10, "fox")
LONGEST = "n" * 251 + ".jpg"


@pytest.fixture
def odd(tmp_path: Path, photo: Photo) -> Path:
    """A subset with a name of 255 bytes and one that is not UTF-8."""
    folder = tmp_path / "data/10_fox"
    photo(folder / LONGEST, (128, 96), 1, caption="fox, one")
    photo(folder / os.fsdecode(b"caf\xe9.jpg"), (128, 96), 2, caption="fox, two")
    return tmp_path / "data"


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("stats",),
        ("layout",),
        ("rank",),
        ("select", "--per-category", "2"),
        ("caption", "--add", "red", "--write"),
        ("diff", "."),
        ("bundle", "--dry-run"),
    ],
)
def test_every_command_prints_every_name_on_a_strict_terminal(
    odd: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = [words[0], str(odd), *(str(odd) if word == "." else word for word in words[1:])]
    for extra in ((), ("--json",)):
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict") for _ in "12")
        with monkeypatch.context() as terminal:
            terminal.setattr(sys, "argv", ["lorakit", "dataset", *argv, *extra])
            terminal.setattr(sys, "stdout", out)
            terminal.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as ended:
                entry()
        for stream in (out, err):
            stream.flush()
        said, noted = (stream.buffer.getvalue() for stream in (out, err))
        assert ended.value.code in {0, 1}, noted.decode()
        assert b"mistake" not in noted, noted.decode()
        if extra:
            json.loads(said)
        if words[0] == "select":
            break  # the new version is there now, which is a plain refusal


def test_prepare_takes_names_of_255_bytes_with_their_captions(odd: Path, tmp_path: Path) -> None:
    outcome = prepare(
        tmp_path / "new",
        jobs_of(tmp_path / "new", Settings("none"), source=odd / "10_fox", trigger="fox"),
    )
    assert (len(outcome.made), outcome.refused) == (2, [])
    assert sorted(path.read_text() for path in (tmp_path / "new/10_fox").glob("*.txt")) == [
        "fox, one\n",
        "fox, two\n",
    ]


def test_a_ranking_of_names_that_are_not_utf8_is_written_and_matches_again(odd: Path) -> None:
    ranked = rank(odd)
    paths = write_rankings(odd, ranked)
    scores = {item["file"]: item["score"] for item in json.loads(paths[0].read_text())["images"]}
    assert with_scores(ranked, scores)[1] == []


def test_a_score_by_a_name_that_two_pictures_have_is_given_to_neither(
    tmp_path: Path, photo: Photo
) -> None:
    for folder in ("a", "b"):
        photo(tmp_path / "originals" / folder / "1.png", (128, 96), ord(folder))
    before = rank(tmp_path)
    after, faults = with_scores(before, {"1.png": 99, "originals/b/1.png": 5})
    assert [item.score for item in after] == [before[0].score, 5]
    assert ["2 pictures have this name" in fault.what for fault in faults] == [True]


def test_a_caption_with_a_line_separator_is_undone_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("fox, one\u2028two\x85three\n")
    history = History(tmp_path)
    history.apply("edit", [Change(path, "fox, one\u2028two\x85three", "fox, new\u2028line")])
    assert len(history.journal.read()) == 1
    history.undo()
    assert path.read_text() == "fox, one\u2028two\x85three\n"


def test_a_caption_rewritten_in_another_encoding_survives_an_undo(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    History(tmp_path).apply("edit", [Change(path, None, "fox")])
    path.write_bytes(b"\xff\xfef\0o\0x\0")
    _, count, faults = History(tmp_path).undo()
    assert (count, [fault.rule for fault in faults]) == (0, ["caption-edited"])
    assert path.read_bytes() == b"\xff\xfef\0o\0x\0"


def test_every_caption_that_is_not_utf8_is_named_at_once_and_none_is_written(
    tmp_path: Path, photo: Photo, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, data in enumerate((b"fox, ok", b"fox, \xe9", b"fox, \xfc")):
        photo(tmp_path / f"10_fox/{number}.png", (96, 96), number).with_suffix(".txt").write_bytes(
            data
        )
    assert main(["dataset", "caption", str(tmp_path), "--add", "red", "--write"]) == 1
    told = capsys.readouterr().err
    assert "1.txt: is not UTF-8" in told and "2.txt: is not UTF-8" in told
    assert (tmp_path / "10_fox/0.txt").read_bytes() == b"fox, ok"


def test_a_prepared_caption_keeps_all_its_words_in_one_line(tmp_path: Path, photo: Photo) -> None:
    words = "fox, " + "ü" * 70_000
    photo(tmp_path / "in/a.png", (96, 96), 1, caption=words)
    photo(tmp_path / "in/b.png", (96, 96), 2, caption="fox, one\u2028two\x85three")
    prepare(
        tmp_path / "data",
        jobs_of(tmp_path / "data", Settings("none"), source=tmp_path / "in", trigger="fox"),
    )
    assert (tmp_path / "data/10_fox/a.txt").read_text(encoding="utf-8") == words + "\n"
    assert (tmp_path / "data/10_fox/b.txt").read_text(encoding="utf-8") == "fox, one two three\n"


def test_a_caption_in_capital_letters_comes_along_from_folder_and_zip(
    tmp_path: Path, photo: Photo
) -> None:
    photo(tmp_path / "in/A.JPG", (96, 96), 1).with_suffix(".TXT").write_text("fox, a")
    photo(tmp_path / "B.JPG", (96, 96), 2)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.write(tmp_path / "B.JPG", "x/B.JPG")
        archive.writestr("x/B.Txt", "fox, b")
    add(tmp_path / "data", FOX, [tmp_path / "in", tmp_path / "b.zip"])
    folder = tmp_path / "data/originals/fox"
    assert {path.name: path.read_text() for path in folder.glob("*.txt")} == {
        "A.txt": "fox, a",
        "B.txt": "fox, b",
    }


def test_a_strip_one_pixel_high_does_not_end_the_contact_sheet(
    tmp_path: Path, photo: Photo
) -> None:
    photo(tmp_path / "in/wide.png", (2000, 2))
    assert (
        main(
            [
                "dataset",
                "prepare",
                str(tmp_path / "data"),
                "--from",
                str(tmp_path / "in"),
                "--fit",
                "none",
            ]
        )
        == 0
    )
    assert (tmp_path / "data/.lorakit/sheet-01.jpg").is_file()
