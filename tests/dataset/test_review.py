from __future__ import annotations

import json
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pace
import psutil
import pytest
from PIL import Image, ImageDraw

from lorakit.cli.main import main
from lorakit.dataset.buckets import BucketRules, Chooser
from lorakit.dataset.build.remembered import read_remembered
from lorakit.dataset.captions.edit import History
from lorakit.dataset.review.server import Server
from lorakit.dataset.review.session import Conflict, ReviewSession
from lorakit.dataset.scan import scan


def make(root: Path, count: int) -> Path:
    folder = root / "maya" / "40_maya"
    folder.mkdir(parents=True)
    for number in range(count):
        image = Image.new("RGB", (300, 200), (40 + number % 200, 90, 120))
        ImageDraw.Draw(image).ellipse((100, 50, 200, 150), fill=(220, 180, 60))
        image.save(folder / f"{number:04d}.png")
        (folder / f"{number:04d}.txt").write_text(f"maya, picture {number}\n")
    return root / "maya"


def make_unlike(root: Path, count: int) -> Path:
    """Pictures that nothing takes for copies of each other."""
    for path in sorted((make(root, count) / "40_maya").glob("*.png")):
        Image.effect_noise((12, 8), 90).resize((300, 200)).convert("RGB").save(path)
    return root / "maya"


def session_of(root: Path) -> ReviewSession:
    chooser = Chooser(BucketRules((256, 256), enable=False))
    return ReviewSession(scan(root), trigger="maya", chooser=chooser)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(session_of(make(tmp_path, 3)))
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    yield server
    server.shutdown()
    server.server_close()


def call(
    server: Server,
    path: str,
    data: dict[str, Any] | None = None,
    *,
    token: str | None = None,
    host: str = "",
) -> tuple[int, bytes]:
    token = server.token if token is None else token
    url = f"http://127.0.0.1:{server.server_port}{path}" + (
        "" if data is not None else f"{'&' if '?' in path else '?'}token={token}"
    )
    request = urllib.request.Request(
        url, data=None if data is None else json.dumps(data).encode(), headers={"X-Token": token}
    )
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=pace.PATIENCE_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_without_the_token_or_under_another_host_nothing_is_told(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert call(server, "/items", token="guess")[0] == 403
    assert call(server, "/items", host="evil.example:80")[0] == 403
    assert call(server, "/caption/0", {"text": "x", "seen": ""}, token="")[0] == 403
    assert call(server, "/items")[0] == 200


def test_an_item_says_where_the_trainers_crop_lies(server: Server) -> None:
    item = json.loads(call(server, "/items")[1])["items"][0]
    assert item["crop"] == [pytest.approx(1 / 6), 0, pytest.approx(2 / 3), 1]
    assert item["bucket"] == [256, 256]


def test_a_picture_comes_as_small_as_asked(server: Server) -> None:
    status, body = call(server, "/image/1?side=64")
    assert status == 200
    assert body[:3] == b"\xff\xd8\xff" and len(body) < 5000
    assert call(server, "/image/9")[0] == 404
    assert call(server, "/image/-1")[0] == 404
    assert call(server, "/../../etc/passwd")[0] == 404


def test_a_save_is_on_disk_at_once_and_one_visit_is_one_step(server: Server) -> None:
    path = server.review.images[0][1].path.with_suffix(".txt")
    for text, seen in (("maya, a", "maya, picture 0"), ("maya, ab", "maya, a")):
        assert call(server, "/caption/0", {"text": text, "seen": seen})[0] == 200
        assert path.read_text() == text + "\n"
    call(server, "/caption/0", {"text": "maya, ab", "seen": "maya, ab", "done": True})
    history = History(server.review.root)
    assert len(history.journal.read()) == 1
    history.undo()
    assert path.read_text() == "maya, picture 0\n"


def test_an_edit_made_elsewhere_is_never_overwritten(server: Server) -> None:
    path = server.review.images[0][1].path.with_suffix(".txt")
    path.write_text("maya, from an editor\n")
    status, body = call(server, "/caption/0", {"text": "mine", "seen": "maya, picture 0"})
    assert (status, json.loads(body)) == (409, {"now": "maya, from an editor"})
    assert path.read_text() == "maya, from an editor\n"


def test_nonsense_is_refused_without_harm(server: Server) -> None:
    for path, data in (
        ("/caption/0", {}),
        ("/caption/x", {"text": "", "seen": ""}),
        ("/mark/0", {"mark": "loved"}),
        ("/drop/0", {}),
    ):
        assert call(server, path, data)[0] == 400


def test_marks_outlive_the_server(server: Server) -> None:
    call(server, "/mark/1", {"mark": "flagged"})
    assert [item["mark"] for item in session_of(server.review.root).items()] == ["", "flagged", ""]


def test_what_was_saved_but_not_left_becomes_history_at_the_end(tmp_path: Path) -> None:
    review = session_of(make(tmp_path, 1))
    review.save(0, "maya, new", seen="maya, picture 0", done=False)
    review.leave()
    assert len(review.history.journal.read()) == 1
    with pytest.raises(Conflict):
        review.save(0, "other", seen="stale", done=True)


def test_a_caption_that_is_not_utf8_is_told_on_its_own_picture_and_never_written_over(
    server: Server,
) -> None:
    path = server.review.images[1][1].path.with_suffix(".txt")
    path.write_bytes(b"maya, \xe9")
    items = json.loads(call(server, "/items")[1])["items"]
    assert [item["caption"] for item in items] == ["maya, picture 0", "", "maya, picture 2"]
    assert "not UTF-8" in items[1]["lint"][0]
    assert call(server, "/caption/1", {"text": "maya, new", "seen": ""})[0] == 409
    server.review.leave()
    assert path.read_bytes() == b"maya, \xe9"


def test_pictures_of_a_regularisation_folder_are_not_reviewed(tmp_path: Path) -> None:
    root = make(tmp_path, 1)
    shutil.copytree(root / "40_maya", tmp_path / "reg/1_woman")
    review = ReviewSession(scan(root, reg=tmp_path / "reg"))
    assert [item["subset"] for item in review.items()] == ["40_maya"]


def test_a_picture_that_cannot_be_decoded_is_told_as_one(server: Server) -> None:
    server.review.images[0][1].path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert call(server, "/image/0")[0] == 422


def test_a_browser_that_goes_away_leaves_the_terminal_quiet(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.server_port)) as link:
            link.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # an abrupt end: reset
            link.sendall(
                f"GET /image/0?side=2000&token={server.token} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
            )
    assert call(server, "/items")[0] == 200
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("length", ["-1", "many", "9999999"])
def test_a_length_that_cannot_be_is_refused(server: Server, length: str) -> None:
    with socket.create_connection(
        ("127.0.0.1", server.server_port), timeout=pace.PATIENCE_S
    ) as link:
        link.sendall(
            f"POST /mark/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Token: {server.token}\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        assert link.recv(20).startswith(b"HTTP/1.1 413")


def until(page: Any, expression: str) -> None:
    """Polls from outside: the page's own content policy forbids evaluating strings inside it, and stays on."""
    pace.until(lambda: page.evaluate(expression), expression)


def serving(root: Path, out: Path) -> tuple[subprocess.Popen[bytes], str]:
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "lorakit", "dataset", "review", str(root), "--no-browser"],
            stdout=file,
        )
    pace.until(lambda: out.read_text().endswith("\n"))
    return process, out.read_text().strip()


def processor_s(process: subprocess.Popen[bytes]) -> float:
    """What it has computed so far: the same on a busy machine."""
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


BUSY = """import sys, time
from pathlib import Path
from lorakit.dataset.lock import hold_dataset
with hold_dataset(Path(sys.argv[1]), "prepare", wait_s=0):
    while not Path(sys.argv[2]).exists():
        time.sleep(0.05)
"""


@contextmanager
def a_browser() -> Iterator[Any]:
    chromium = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or pytest.skip("no chromium here")
    )
    playwright = pytest.importorskip("playwright.sync_api")
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.mark.browser
def test_a_mark_waits_for_a_dataset_that_is_busy_and_is_kept_until_then(tmp_path: Path) -> None:
    root, let_go = make(tmp_path, 3), tmp_path / "let go"
    process, url = serving(root, tmp_path / "1")
    busy = subprocess.Popen([sys.executable, "-c", BUSY, str(root), str(let_go)])
    marks = root / ".lorakit" / "review.json"
    with a_browser() as browser:
        page = browser.new_page()
        page.goto(url)
        until(page, "document.querySelector('#image').naturalWidth > 0")
        pace.until((root / ".lorakit/.owner.json").exists)
        page.keyboard.press("f")
        words = "mark not saved yet: waiting for lorakit dataset prepare"
        until(page, f"document.querySelector('#saved').textContent.startsWith('{words}')")
        assert not marks.exists()
        page.goto(url)  # as somebody does who sees this
        until(page, "document.querySelector('#tally').textContent == '0 accepted, 1 flagged'")
        let_go.touch()
        until(page, "localStorage.length == 0")
    process.send_signal(signal.SIGINT)
    assert (process.wait(pace.PATIENCE_S), busy.wait(pace.PATIENCE_S)) == (0, 0)
    assert list(json.loads(marks.read_text()).values()) == ["flagged"]


@pytest.mark.browser
def test_a_thousand_images_by_keyboard_in_a_real_browser_and_lorakit_killed_in_between(
    tmp_path: Path,
) -> None:
    root = make(tmp_path, 1000)
    folder = root / "40_maya"
    process, url = serving(root, tmp_path / "1")
    with a_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        before = processor_s(process)
        page.goto(url)
        until(page, "document.querySelector('#image').naturalWidth > 0")
        first_picture_s = processor_s(process) - before
        page.keyboard.press("ArrowRight")
        page.keyboard.press("e")
        page.keyboard.press("Control+A")
        page.keyboard.type("a red hat, a red hat")
        until(page, "document.querySelector('#saved').textContent == 'saved'")
        assert (folder / "0001.txt").read_text() == "a red hat, a red hat\n"
        assert "twice: a red hat" in page.inner_text("#lint")
        page.keyboard.press("Enter")  # accepts and goes on
        page.keyboard.press("f")
        assert page.inner_text("#where") == "3 of 1000"
        until(page, "document.querySelector('#tally').textContent == '1 accepted, 1 flagged'")
        process.kill()  # while the person types
        process.wait()
        page.keyboard.press("e")
        page.keyboard.type(" KEPT")
        until(page, "document.querySelector('#saved').textContent.startsWith('not saved yet')")
        assert (folder / "0002.txt").read_text() == "maya, picture 2\n"
        process, url = serving(root, tmp_path / "2")
        page.goto(url)  # the same port, so the same browser storage
        until(page, "document.querySelector('#where').textContent != ''")
        pace.until(lambda: (folder / "0002.txt").read_text() == "maya, picture 2 KEPT\n")
    process.send_signal(signal.SIGINT)
    assert process.wait(pace.PATIENCE_S) == 0
    assert first_picture_s < pace.slowness()  # of the processor: it waits for no other picture


def test_a_request_that_never_ends_is_cut_off(server: Server) -> None:
    server.request_s = 0.3
    with socket.create_connection(
        ("127.0.0.1", server.server_port), timeout=pace.PATIENCE_S
    ) as slow:
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 60:  # a byte now and then keeps no thread
                slow.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - began < 60
    assert call(server, "/items")[0] == 200


def test_at_most_32_are_served_at_once_and_the_33rd_is_told_so(server: Server) -> None:
    place = ("127.0.0.1", server.server_port)
    held = [socket.create_connection(place, timeout=pace.PATIENCE_S) for _ in range(32)]
    try:
        time.sleep(0.3)
        with socket.create_connection(place, timeout=pace.PATIENCE_S) as late:
            assert late.recv(99).startswith(b"HTTP/1.1 503")
        assert threading.active_count() < 45
    finally:
        for one in held:
            one.close()
    time.sleep(0.3)
    assert call(server, "/items")[0] == 200


def test_a_picture_dropped_on_the_page_is_dropped_for_every_command_and_comes_back(
    server: Server,
) -> None:
    root = server.review.root
    assert call(server, "/drop/1", {"back": False})[0] == 200
    assert sorted(path.name for path in root.glob("40_maya/*.png")) == ["0000.png", "0002.png"]
    assert read_remembered(root).dropped == ("40_maya/0001.png",)
    status, _ = call(server, "/caption/1", {"text": "x", "seen": "maya, picture 1"})
    assert status == 400
    assert not (root / "40_maya/0001.txt").exists()
    assert call(server, "/drop/1", {"back": True})[0] == 200
    assert (root / "40_maya/0001.txt").read_text() == "maya, picture 1\n"
    assert read_remembered(root).dropped == ()


def test_what_a_check_finds_stands_at_its_picture(tmp_path: Path) -> None:
    root = make(tmp_path, 3)
    (root / "40_maya/0002.txt").write_text("somebody, blue eyes, thin lips\n")
    found = ReviewSession(scan(root), trigger="maya").findings()
    rules = {one["text"].partition(":")[0] for one in found[2]}
    assert {"trigger-missing", "face-described"} <= rules


def test_flagged_pictures_are_named_by_check_and_dropped_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path, 3)
    session_of(root).mark(1, "flagged")
    main(["dataset", "check", str(root), "--all"])
    told = capsys.readouterr().out
    assert [line for line in told.splitlines() if "flagged" in line and "0001.png" in line]
    assert main(["dataset", "drop", str(root), "--flagged"]) == 0
    assert sorted(path.name for path in root.glob("40_maya/*.png")) == ["0000.png", "0002.png"]
    capsys.readouterr()
    main(["dataset", "check", str(root), "--all"])
    assert "0001.png" not in capsys.readouterr().out
    assert main(["dataset", "drop", str(root), "--flagged"]) == 0


def test_check_ends_with_the_command_for_what_is_flagged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path, 3)
    review = session_of(root)
    review.leave()
    review.mark(1, "flagged")
    main(["dataset", "check", str(root)])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"Next: lorakit dataset drop {root} --flagged ")
    assert "1 picture" in last
    review.drop(1, back=False)
    main(["dataset", "check", str(root)])
    assert "--flagged" not in capsys.readouterr().err


def test_a_bundle_and_a_selection_can_go_without_what_is_flagged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, folder, out = (
        make_unlike(tmp_path, 3),
        tmp_path / "maya/40_maya",
        str(tmp_path / "maya.zip"),
    )
    session_of(root).mark(1, "flagged")
    main(["dataset", "bundle", str(root), "--out", out])
    told = capsys.readouterr()
    assert "3 pictures, 3 captions" in told.err + told.out
    assert "1 of them is flagged" in told.err
    main(["dataset", "bundle", str(root), "--out", out, "--skip-flagged"])
    with zipfile.ZipFile(out) as bundle:
        assert [name for name in bundle.namelist() if "0001" in name] == []
        assert "40_maya/0002.png" in bundle.namelist()
    words = ["--per-category", "9", "--skip-flagged", "--to", str(tmp_path / "best")]
    main(["dataset", "select", str(root), *words])
    copies = (tmp_path / "best").rglob("*.txt")
    assert sorted(path.read_text() for path in copies) == ["maya, picture 0\n", "maya, picture 2\n"]
    assert (folder / "0001.txt").exists()


def test_prepare_drops_what_is_flagged_when_it_is_told_to(tmp_path: Path) -> None:
    root = tmp_path / "data"
    make_unlike(tmp_path, 3)
    assert main(["dataset", "add", str(root), str(tmp_path / "maya/40_maya")]) == 0
    prepare = ["dataset", "prepare", str(root), "--fit", "none", "--no-sheet"]
    assert main(prepare) == 0
    session_of(root).mark(1, "flagged")
    assert main([*prepare, "--skip-flagged"]) == 0
    assert sorted(path.name for path in root.glob("40_maya/*.jpg")) == ["0000.jpg", "0002.jpg"]
    assert main(prepare) == 0
    assert len([*root.glob("40_maya/*.jpg")]) == 2


@pytest.mark.browser
def test_by_touch_pictures_are_flagged_dropped_and_their_captions_replaced(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or pytest.skip("no chromium here")
    playwright = pytest.importorskip("playwright.sync_api")
    root = make(tmp_path, 5)
    folder = root / "40_maya"
    process, url = serving(root, tmp_path / "url")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        narrow = {"width": 400, "height": 800}
        page = browser.new_context(viewport=narrow, has_touch=True, is_mobile=True).new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(url)
        until(page, "document.querySelector('#image').naturalWidth > 0")
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        page.tap("#flag")
        page.tap("#on")
        page.tap("#drop")
        until(page, "document.querySelector('#drop').textContent == 'take back'")
        assert not (folder / "0001.txt").exists()
        assert page.is_disabled("#caption")
        page.tap("#drop")
        until(page, "document.querySelector('#drop').textContent == 'drop'")
        assert (folder / "0001.txt").exists()
        until(page, "document.querySelector('#tally').textContent == '0 accepted, 1 flagged'")
        page.locator("summary").nth(0).tap()
        page.tap("#tags button:has-text('picture 3')")
        until(page, "document.querySelectorAll('nav button:not([hidden])').length == 1")
        page.locator("summary").nth(1).tap()
        page.fill("#old", "picture")
        page.fill("#new", "portrait")
        page.tap("#swap")
        pace.until(lambda: (folder / "0003.txt").read_text() == "maya, portrait 3\n")
        assert (folder / "0002.txt").read_text() == "maya, picture 2\n"
        browser.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(pace.PATIENCE_S) == 0


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Three pictures, the first held sideways by its camera, the third hardly another than the
    second, made by prepare.
    """
    for number, seed in enumerate((5, 9, 9)):
        noise = Image.effect_noise((12, 9), 80 + seed).resize((400, 300)).convert("RGB")
        if number == 2:
            noise = Image.open(tmp_path / "photos/1.png").point(lambda value: value // 2 + 60)
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 0 else 1
        (tmp_path / "photos").mkdir(exist_ok=True)
        noise.save(tmp_path / f"photos/{number}.png", exif=exif)
        (tmp_path / f"photos/{number}.txt").write_text(f"maya, picture {number}\n")
    root = tmp_path / "maya"
    words = [["add", str(tmp_path / "photos"), "--repeats", "40", "--trigger", "maya"]]
    for name, *more in [*words, ["prepare", "--fit", "none", "--no-sheet"]]:
        assert main(["dataset", name, str(root), *more]) == 0
    return root


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        width, height = image.size
    return width, height


def test_a_crop_box_is_kept_in_the_datasets_file_and_used_by_prepare(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    review = session_of(prepared)
    first = review.items()[0]
    assert (first["box"], first["recut"]) == (None, False)
    review.crop(0, [0.1, 0.25, 0.6, 0.75])
    assert read_remembered(prepared).crops == {"originals/maya/0.png": (0.1, 0.25, 0.6, 0.75)}
    assert (review.items()[0]["box"], review.items()[0]["recut"]) == ((0.1, 0.25, 0.6, 0.75), True)
    main(["dataset", "check", str(prepared)])
    assert f"Next: lorakit dataset prepare {prepared} " in capsys.readouterr().err
    assert main(["dataset", "prepare", str(prepared), "--no-sheet"]) == 0
    assert size_of(prepared / "40_maya/0.jpg") == (150, 200)  # of 300x400, upright
    review = session_of(prepared)
    assert review.items()[0]["recut"] is False
    review.crop(0, None)
    assert read_remembered(prepared).crops == {}
    assert main(["dataset", "prepare", str(prepared), "--no-sheet"]) == 0
    assert size_of(prepared / "40_maya/0.jpg") == (300, 400)


def test_the_original_is_shown_upright_for_cropping(prepared: Path) -> None:
    data = session_of(prepared).picture(0, 200, original=True)
    with Image.open(BytesIO(data)) as image:
        assert image.size == (150, 200)


@pytest.mark.parametrize(
    "box", [[-0.1, 0, 1, 1], [0, 0, 1.2, 1], [0.5, 0, 0.5, 1], [0.2, 0.1, 0.3], ["a", 0, 1, 1]]
)
def test_a_box_outside_its_picture_is_refused_with_a_clear_word(
    prepared: Path, box: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(session_of(prepared))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    status, said = call(server, "/crop/0", {"box": box})
    server.shutdown()
    server.server_close()
    assert status == 422
    assert "must lie inside its picture" in said.decode()
    place = prepared / "prepare.toml"
    before = place.read_text()
    place.write_text(f'{before}\n[crops]\n"originals/maya/0.png" = {json.dumps(box)}\n')
    assert main(["dataset", "prepare", str(prepared)]) == 1
    told = capsys.readouterr().err
    assert "originals/maya/0.png" in told
    assert "must lie inside its picture" in told
    assert "originals/maya/1.png" not in told


def test_a_picture_that_prepare_did_not_make_has_no_box(server: Server) -> None:
    assert "box" not in server.review.items()[0]
    status, said = call(server, "/crop/0", {"box": [0, 0, 0.5, 1]})
    assert status == 422
    assert "prepare" in said.decode()


def test_copies_are_named_with_the_picture_that_they_resemble(prepared: Path) -> None:
    found = session_of(prepared).findings()
    twins = {number: [one["twin"] for one in own if "twin" in one] for number, own in found.items()}
    assert {number: own for number, own in twins.items() if own} == {1: [2], 2: [1]}


def boxed(root: Path) -> tuple[float, ...]:
    """The first picture's box, once it is there."""
    pace.until(lambda: read_remembered(root).crops)
    return read_remembered(root).crops["originals/maya/0.png"]


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1400])
def test_a_crop_box_is_drawn_by_keyboard(prepared: Path, tmp_path: Path, width: int) -> None:
    process, url = serving(prepared, tmp_path / "url")
    with a_browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.goto(url)
        until(page, "document.querySelector('#image').naturalWidth > 0")
        page.keyboard.press("x")
        until(page, "document.querySelector('#image').naturalHeight == 400")
        for _ in range(10):
            page.keyboard.press("Shift+ArrowLeft")  # smaller
        page.keyboard.press("ArrowRight")  # moved
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.screenshot(path=str(tmp_path / f"crop-keys-{width}.png"))
        page.keyboard.press("Enter")
        assert boxed(prepared) == pytest.approx((0.02, 0, 0.92, 1))
        until(page, "document.querySelector('#saved').textContent.startsWith('crop kept')")
        assert page.inner_text("#where") == "1 of 3"
        page.keyboard.press("x")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Escape")
        page.keyboard.press("ArrowRight")  # the page's again
        until(page, "document.querySelector('#where').textContent == '2 of 3'")
        until(page, "document.querySelector('#twin img').naturalWidth > 0")
        left, right = (page.locator(one).bounding_box() for one in ("#image", "#twin img"))
        assert right["x"] >= left["x"] + left["width"]  # side by side
        assert right["x"] + right["width"] <= width
        page.screenshot(path=str(tmp_path / f"twins-{width}.png"))
    assert boxed(prepared) == pytest.approx((0.02, 0, 0.92, 1))
    process.send_signal(signal.SIGINT)
    assert process.wait(pace.PATIENCE_S) == 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1400])
def test_a_crop_box_is_drawn_moved_and_taken_away_by_touch(
    prepared: Path, tmp_path: Path, width: int
) -> None:
    process, url = serving(prepared, tmp_path / "url")
    with a_browser() as browser:
        size = {"width": width, "height": 800}
        page = browser.new_context(viewport=size, has_touch=True).new_page()
        page.goto(url)
        until(page, "document.querySelector('#image').naturalWidth > 0")
        page.tap("#cut")
        until(page, "!document.querySelector('#keep').hidden")
        touch = page.context.new_cdp_session(page)

        def drag(start: tuple[float, float], to: tuple[float, float]) -> None:
            """A finger, in shares of the picture."""
            at = page.locator("#image").bounding_box()
            places = [start, ((start[0] + to[0]) / 2, (start[1] + to[1]) / 2), to]
            points = [(at["x"] + x * at["width"], at["y"] + y * at["height"]) for x, y in places]
            kinds, before = ("touchStart", "touchMove", "touchMove"), page.evaluate("`${cut}`")
            while page.evaluate("`${cut}`") == before:  # a busy browser loses a touch
                for kind, (x, y) in zip(kinds, points, strict=True):
                    finger = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
                    touch.send("Input.dispatchTouchEvent", finger)
                touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
                until(page, "grip === null")

        drag((0.999, 0.999), (0.6, 0.5))  # by its corner
        drag((0.3, 0.25), (0.4, 0.45))  # the whole of it
        page.screenshot(path=str(tmp_path / f"crop-touch-{width}.png"))
        page.click("#keep")
        until(page, "document.querySelector('#keep').hidden")
        assert boxed(prepared) == pytest.approx((0.1, 0.2, 0.7, 0.7), abs=0.02)
        assert page.inner_text("#where") == "1 of 3"  # no page was turned
        until(page, "document.querySelector('#saved').textContent.startsWith('crop kept')")
        page.click("#cut")
        until(page, "!document.querySelector('#keep').hidden")
        drag((0.2, 0.8), (0.5, 0.95))  # outside the box: a new one
        drag((0.35, 0.9), (0.35, 5))  # no further than the edge
        page.click("#keep")
        until(page, "document.querySelector('#keep').hidden")
        pace.until(lambda: boxed(prepared)[3] >= 1)
        assert boxed(prepared) == pytest.approx((0.2, 0.85, 0.5, 1), abs=0.02)
        until(page, "document.querySelector('#keep').hidden")
        page.click("#cut")
        until(page, "!document.querySelector('#keep').hidden")
        page.click("#whole")
        pace.until(lambda: not read_remembered(prepared).crops)
    process.send_signal(signal.SIGINT)
    assert process.wait(pace.PATIENCE_S) == 0
