"""A caption that cannot be read is one fault; it hides no other and holds up nobody."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.dataset.review.session import ReviewSession
from lorakit.dataset.scan import scan
from lorakit.errors import RecipeError
from lorakit.user_files import Unreadable

Photo = Callable[..., Path]


def link_loop(path: Path) -> str:
    path.symlink_to(path.name)
    return "is a link that leads back to itself."


def pipe(path: Path) -> str:
    os.mkfifo(path)
    return "is a pipe, not a file."


def folder(path: Path) -> str:
    path.mkdir()
    return "is a folder, not a file."


def huge(path: Path) -> str:
    with path.open("wb") as file:
        file.truncate(100_000_000)
    return "100.0 MB; more than 2.1 MB is not read."


def device(path: Path) -> str:
    path.symlink_to("/dev/zero")
    return "is a device, not a file."


def dangling(path: Path) -> str:
    path.symlink_to("gone.txt")
    return "points to gone.txt, which is not there."


def locked(path: Path) -> str:
    path.write_text("zwx, locked")
    path.chmod(0)
    return "Permission denied."


ODD = [link_loop, pipe, folder, huge, device, dangling, locked]


@pytest.fixture(params=ODD, ids=lambda make: make.__name__)
def odd(
    request: pytest.FixtureRequest, tmp_path: Path, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A dataset `ds` with one odd caption between good ones and another fault; its sentence."""
    if request.param is locked and os.geteuid() == 0:
        pytest.skip("nothing is locked to this user")
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "ds" / "5_zwx"
    for number in range(4):
        photo(home / f"{number}.png", (300, 300), number, caption=f"zwx, number {number}")
    (home / "1.txt").unlink()
    (home / "3.txt").write_text("")
    sentence: str = request.param(home / "1.txt")
    return sentence


@pytest.mark.parametrize("command", ["check", "stats", "layout", "caption"])
def test_every_command_names_the_caption_and_still_tells_the_other_faults(
    odd: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--sort", "--add", "good"] if command == "caption" else []
    assert main(["dataset", command, "ds", *more]) in {0, 1}
    told = "".join(capsys.readouterr())
    assert told.count(odd) <= 1
    if command == "check":
        assert odd in told
        assert "the file is empty" in told
    if command == "caption":
        assert odd in told
        assert "nothing was started" in told
    if command in {"stats", "layout"}:
        assert "crashed" not in told


def test_the_scan_holds_one_fault_about_it_and_all_images(odd: str, tmp_path: Path) -> None:
    facts = scan(tmp_path / "ds")
    about = [fault for fault in facts.faults if fault.where.endswith("1.txt")]
    assert [fault.what for fault in about] == [odd]
    assert len(facts.subsets[0].images) == 4
    assert any(fault.rule == "caption-empty" for fault in facts.faults)


def test_the_review_page_shows_every_image_and_says_why_one_cannot_be_edited(
    odd: str, tmp_path: Path
) -> None:
    session = ReviewSession(scan(tmp_path / "ds"), trigger="zwx")
    items = session.items()
    assert [item["caption"] for item in items] == ["zwx, number 0", "", "zwx, number 2", ""]
    assert odd in str(items[1]["lint"])


def test_what_is_refused_as_a_file_is_refused_by_every_reader(tmp_path: Path) -> None:
    from lorakit.dataset.captions.read import caption_text, read_words

    path = tmp_path / "a.txt"
    os.mkfifo(path)
    with pytest.raises(Unreadable, match="is a pipe"):
        read_words(path)
    with pytest.raises((RecipeError, Unreadable), match="is a pipe"):
        caption_text(path)
