"""Two at once on one dataset or one run: whoever says done has done it, and nobody's work is lost."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from attacks.calling import Child, Said, call, first
from attacks.kills import photographed
from attacks.table import Case
from attacks.trainings import STEPS, begun, project
from lorakit.runs.find import info
from lorakit.weights.safetensors import steps_of


def both(*commands: tuple[str | Path, ...]) -> list[Said]:
    children = [Child(*words) for words in commands]
    return [child.end() for child in children]


def added(*, same: bool) -> Callable[[Path], str]:
    def race(at: Path) -> str:
        sources = [photographed(at / name, 11) for name in ("one", "two")]
        if not same:
            for path in sources[1].glob("*.jpg"):  # other pictures under the same names
                with Image.open(path) as image:
                    flipped = image.transpose(Image.Transpose.ROTATE_90)
                flipped.crop((30, 30, 290, 390)).save(path, quality=90)
        said = both(*(add(at, source) for source in sources))
        there = {path.read_bytes() for path in (at / "data/originals").rglob("*.jpg")}
        for source, one in zip(sources, said, strict=True):
            lost = [p.name for p in source.glob("*.jpg") if p.read_bytes() not in there]
            if one.code == 0 and lost and not all(name in one.out + one.err for name in lost):
                return f"said done, but {len(lost)} of its 11 photos are not there"
        return first(*(one.fault for one in said))

    return race


def add(at: Path, source: Path) -> tuple[str | Path, ...]:
    return ("dataset", "add", at / "data", source, "--repeats", "2", "--trigger", "zwx")


def prepared(at: Path) -> str:
    call(*add(at, photographed(at / "one", 12)))
    sizes = ("256", "320")
    fit = ("dataset", "prepare", at / "data", "--fit", "letterbox", "--size")
    said = both(*((*fit, size) for size in sizes))
    made = sorted((at / "data").glob("2_zwx/*.jpg"))
    found = set()
    for path in made:
        with Image.open(path) as image:
            image.load()
            found.add(image.size)
    if fault := first(*(one.fault for one in said)):
        return fault
    again = call("dataset", "check", at / "data", "--trigger", "zwx")
    if len(made) != 12 or len(found) != 1:
        return f"{len(made)} of 12 pictures, of sizes {sorted(found)}"
    return again.fault


def prepared_while_added(at: Path) -> str:
    call(*add(at, photographed(at / "one", 8)))
    shutil.copytree(at / "one", at / "two")
    for number, path in enumerate(sorted((at / "two").glob("*.jpg"))):
        with Image.open(path) as image:
            image.rotate(90, expand=True).crop((9, 9, 280, 400)).save(at / "two" / f"n{number}.jpg")
        path.unlink()
    said = both(add(at, at / "two"), ("dataset", "prepare", at / "data", "--fit", "none"))
    if fault := first(*(one.fault for one in said)):
        return fault
    last = call("dataset", "prepare", at / "data", "--fit", "none")
    counts = [len(list((at / "data").glob(f"{one}/*.jpg"))) for one in ("originals/zwx", "2_zwx")]
    return last.fault or ("" if counts == [16, 16] else f"{counts} pictures, not 16 and 16")


def captioned_dataset(at: Path) -> Path:
    photographed(at / "data/2_zwx", 12)
    return at / "data"


def captions_of(data: Path) -> list[set[str]]:
    paths = sorted(data.glob("2_zwx/*.txt"))
    return [set(path.read_text(encoding="utf-8").strip().split(", ")) for path in paths]


def captioned(at: Path) -> str:
    data, tags = captioned_dataset(at), ("red", "blue")
    said = both(*(("dataset", "caption", data, "--add", tag, "--write") for tag in tags))
    done = {tag for tag, one in zip(tags, said, strict=True) if one.code == 0}
    lost = [tags for tags in captions_of(data) if not done <= tags]
    return first(*(one.fault for one in said)) or (
        f"both said done, but {len(lost)} of 12 captions lack an edit" if lost else ""
    )


def captioned_while_reviewed(at: Path) -> str:
    data = captioned_dataset(at)
    page = Child("dataset", "review", data, "--no-browser")
    address = spoken(page, "http://127.0.0.1:")
    if not address:
        return f"the page did not start: {page.end(1).err[-200:]}"
    url, token = address.split("/?token=")
    saved: list[int] = []

    def save() -> None:
        seen = "zwx, number 5"
        body = json.dumps({"text": seen + ", saved", "seen": seen, "done": True}).encode()
        request = urllib.request.Request(f"{url}/caption/5", body, {"X-Token": token})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                saved.append(answer.status)
        except OSError:
            saved.append(0)

    command = Child("dataset", "caption", data, "--add", "red", "--write")
    time.sleep(0.35)
    thread = threading.Thread(target=save)
    thread.start()
    said = command.end()
    thread.join()
    page.signal(signal.SIGINT)
    page.end()
    now = captions_of(data)
    if saved == [200] and "saved" not in now[5]:
        return "the page said saved, but the text is lost"
    if (
        said.code == 0
        and (missing := [tags for tags in now if "red" not in tags])
        and saved != [200]
    ):
        return f"{len(missing)} captions lack the edit"
    return said.fault


def spoken(child: Child, beginning: str, limit_s: float = 30) -> str:
    """The first word of its output that begins so."""
    found: list[str] = []

    def read(stream: object) -> None:
        for line in stream:  # type: ignore[attr-defined]
            found.extend(w for w in line.decode().split() if w.startswith(beginning))
            if found:
                return

    for stream in (child.process.stdout, child.process.stderr):
        threading.Thread(target=read, args=(stream,), daemon=True).start()
    until = time.monotonic() + limit_s
    while not found and time.monotonic() < until and child.process.poll() is None:
        time.sleep(0.05)
    return found[0] if found else ""


def selected(at: Path) -> str:
    data = captioned_dataset(at)
    words = ("dataset", "select", data, "--per-category", "6", "--to", at / "chosen")
    said = both(words, words)
    count = len(list((at / "chosen").glob("2_zwx/*.jpg")))
    done = [one.code for one in said].count(0)
    if count != 6 or done == 0:
        return f"{count} of 6 pictures; exits {[one.code for one in said]}"
    return first(*(one.fault for one in said))


def bundled(at: Path) -> str:
    data, out = captioned_dataset(at), at / "b.zip"
    said = both(*(("dataset", "bundle", data, "--out", out),) * 2)
    verified = call("dataset", "bundle", "verify", out)
    left = [path.name for path in at.iterdir() if path.suffix == ".tmp"]
    return first(*(one.fault for one in (*said, verified))) or (
        f"exits {[one.code for one in said]}, verify {verified.code}, left {left}"
        if verified.code or left or 0 not in [one.code for one in said]
        else ""
    )


def made_anew(at: Path) -> str:
    """Two `new` of one name: one makes it, the other says so."""
    at.mkdir()
    recipe = at / "recipes/zwx.toml"
    words = ("new", "zwx", "--preset", "sd15", "--trigger", "zwx")
    said = [one.end() for one in [Child(*words, cwd=at) for _ in range(2)]]
    codes = sorted(one.code for one in said)
    if codes != [0, 1] or not recipe.is_file():
        return f"exits {codes}, {first(*(one.err[-150:] for one in said if one.code))}"
    return first(*(one.fault for one in said))


def resumed(at: Path) -> str:
    """A stopped run has one owner, whoever comes second."""
    recipe = project(at)
    child = Child(recipe, program=("-m", "attacks.trainings"))
    run = begun(at, child)
    time.sleep(1.2)
    for one in child.members():
        one.kill()
    child.end()
    if run is None:
        return "it did not begin"
    pair = [Child("resume", run) for _ in range(2)]
    said = [one.end() for one in pair]
    log = (run / "log.txt").read_text(encoding="utf-8", errors="replace")
    parts = len(json.loads((run / "record.json").read_text(encoding="utf-8")).get("parts") or [])
    if [one.code for one in said].count(0) != 1:
        return f"exits {[one.code for one in said]}, {parts} parts: {said[0].err[-120:]}"
    if info(run).state != "done" or steps_of(run / "output/zwx.safetensors") != STEPS:
        return f"state {info(run).state}"
    return "" if parts == 1 else f"{parts} parts in one run; the log has {len(log):,} letters"


RACES: dict[str, Callable[[Path], str]] = {
    "add, add": added(same=False),
    "add, add of the same": added(same=True),
    "prepare, prepare": prepared,
    "prepare, add": prepared_while_added,
    "caption, caption": captioned,
    "caption, review": captioned_while_reviewed,
    "select, select": selected,
    "bundle, bundle": bundled,
    "new, new": made_anew,
    "resume, resume": resumed,
}


def cases(folder: Path, count: int) -> Iterator[Case]:
    for number in range(count):
        name = list(RACES)[number % len(RACES)]
        at, race = folder / f"race{number}", RACES[name]
        yield f"{number} {name}", lambda at=at, race=race: race(at)  # type: ignore[misc]
