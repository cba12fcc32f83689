"""lorakit dataset review in this process: from the address to the last line."""

from __future__ import annotations

import _thread
import socket
import urllib.parse
import webbrowser
from pathlib import Path

import pytest
from drawings import Photo

from lorakit.cli.main import main


@pytest.fixture
def dataset(tmp_path: Path, photo: Photo) -> Path:
    folder = tmp_path / "maya" / "40_maya"
    folder.mkdir(parents=True)
    for number in range(2):
        photo(folder / f"{number}.png", (64, 64), number, caption=f"maya, picture {number}")
    return tmp_path / "maya"


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was sent to; Ctrl-C comes as soon as one has been."""
    seen: list[str] = []

    def visit(url: str) -> bool:
        seen.append(url)
        _thread.interrupt_main()
        return True

    monkeypatch.setattr(webbrowser, "open", visit)
    return seen


def test_the_browser_is_sent_to_the_address_that_is_printed(
    dataset: Path, visited: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "review", str(dataset)]) == 0
    said = capsys.readouterr()
    assert visited == [said.out.strip()]
    assert "2 images; Ctrl-C ends the review." in said.err
    assert "Closed; every edit is in its file." in said.err
    assert "Next: lorakit dataset check" in said.err


def test_a_dataset_keeps_its_address_and_gets_another_while_that_is_taken(
    dataset: Path, visited: list[str]
) -> None:
    for _ in range(2):
        assert main(["dataset", "review", str(dataset)]) == 0
    first, second = (urllib.parse.urlparse(url).port for url in visited)
    assert first == second
    assert first is not None
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert main(["dataset", "review", str(dataset)]) == 0
    assert urllib.parse.urlparse(visited[-1]).port != first


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["dataset", "review", str(dataset), "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert f"Port {port} cannot be used" in said
    assert "Leave --port out to get a free one." in said


def test_a_folder_without_images_is_an_error_and_nothing_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["dataset", "review", str(tmp_path / "empty"), "--no-browser"]) == 1
    assert "no N_trigger folder with images" in capsys.readouterr().err
