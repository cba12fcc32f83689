"""What a hostile picture may cost: memory within a budget, time in line with its size."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pace
import psutil
import pytest
from PIL import Image

from lorakit.pictures.open import RefusedError, TooLargeError, opened
from lorakit.pictures.size import read_header

BUDGET_KB = 1_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 30_000_000,
        b"\xff\xd8" + b"\xff\xd0" * 15_000_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 7_500_000,
        b"\xff\xd8\xff\xe0\x00\x02" + b"\xff" * 30_000_000,
    ],
    ids=["fill", "bare", "short", "fill-later"],
)
def test_a_jpeg_without_an_end_costs_no_second(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pace.within(1):
        with pytest.raises(RefusedError):
            read_header(path)
        with pytest.raises(RefusedError), opened(path):
            pass


def test_some_fill_bytes_are_as_good_as_ever(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (33, 22)).save(stream, "JPEG")
    data = stream.getvalue()
    path = tmp_path / "a.jpg"
    for count in (1, 5000, 200_000):
        path.write_bytes(data[:2] + b"\xff" * count + data[2:])
        header = read_header(path)
        assert (header.kind, header.width, header.height) == ("jpeg", 33, 22)


def png_of(path: Path, width: int, height: int, *, lines: int, depth: int = 16) -> Path:
    """Of zeros, line by line: small on disk, large in memory."""
    pack, line = zlib.compressobj(1), bytes(1 + width * 3 * depth // 8)
    body = b"".join([*(pack.compress(line) for _ in range(lines)), pack.flush()])

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", body), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def progressive(path: Path, width: int, height: int) -> Path:
    """A small progressive JPEG whose frame says another size; its data ends early."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 30, 40)).save(stream, "JPEG", progressive=True)
    data = bytearray(stream.getvalue())
    at = data.index(b"\xff\xc2") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(data))
    return path


def test_what_would_take_too_much_is_refused_by_its_header(tmp_path: Path) -> None:
    for path in (
        png_of(tmp_path / "a.png", 12_700, 10_000, lines=9),
        progressive(tmp_path / "b.jpg", 23_000, 22_000),
    ):
        with (
            pytest.raises(TooLargeError, match=r"would take [\d.]+ [GM]B to decode \(limit"),
            opened(path),
        ):
            pass
    with opened(progressive(tmp_path / "c.jpg", 6000, 4000)) as image:
        assert image.size == (6000, 4000)


PEAK = """
import re, resource, sys
from pathlib import Path
from lorakit.cli.main import main
main(sys.argv[1:])
# not RUSAGE_SELF, which begins with the peak of the process that started this one
own = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
"""


@pytest.mark.slow  # decodes 63 megapixels in a process of its own
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the peak")
@pytest.mark.parametrize("command", ["check", "prepare"])
def test_the_largest_that_is_taken_stays_within_the_budget(tmp_path: Path, command: str) -> None:
    home = tmp_path / "ds" / ("originals/zwx" if command == "prepare" else "5_zwx")
    png_of(home / "just.png", 7_900, 8_000, lines=8_000)
    png_of(home / "bomb.png", 12_700, 10_000, lines=9)
    progressive(home / "bomb.jpg", 23_000, 22_000)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "dataset", command, str(tmp_path / "ds")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "limit" in done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) < BUDGET_KB


def huge_jpeg(path: Path, width: int, height: int, *, progressive: bool) -> Path:
    """Complete, every pixel of it, and small: one code of one bit, and all of them are zero."""

    def segment(mark: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, mark, 2 + len(body)) + body

    one_code = bytes([1] + [0] * 15 + [0])  # of one bit, and it means: nothing
    parts = bytes(one for number in (1, 2, 3) for one in (number, 0x11, 0))
    blocks = 3 * -(-width // 8) * -(-height // 8)
    bits = blocks if progressive else 2 * blocks  # a sequential block ends with a code of its own
    chosen = bytes(one for number in (1, 2, 3) for one in (number, 0x00))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\xff\xd8"
        + segment(0xDB, b"\0" + b"\1" * 64)
        + segment(0xC2 if progressive else 0xC0, struct.pack(">BHHB", 8, height, width, 3) + parts)
        + segment(0xC4, b"\0" + one_code + b"\x10" + one_code)
        + segment(0xDA, b"\3" + chosen + bytes([0, 0 if progressive else 63, 0]))
        + bytes(-(-bits // 8))
        + b"\xff\xd9"
    )
    return path


def test_the_huge_ones_are_pictures_indeed(tmp_path: Path) -> None:
    for kind in (True, False):
        path = huge_jpeg(tmp_path / f"{kind}.jpg", 640, 480, progressive=kind)
        with opened(path) as image:
            image.load()
            assert (image.size, image.mode) == ((640, 480), "RGB")
            assert image.info.get("progressive", 0) == kind


WORST = """
import sys
from lorakit.pictures import pool
from lorakit.cli.main import main
pool.worker_count, pool.IN_THIS_PROCESS = lambda: 8, 0
sys.exit(main(sys.argv[1:]))
"""
WORST_TREE = 3_500_000_000  # bytes of eight workers and their parent together


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [["check"], pytest.param(["prepare", "--fit", "none"], marks=pytest.mark.long)],
    ids=lambda one: one[0],
)
def test_eight_workers_with_nothing_but_the_largest_stay_within_the_bound(
    tmp_path: Path, words: list[str]
) -> None:
    """Of the kinds that are just taken alone, just taken side by side, and just refused."""
    home = tmp_path / "ds" / ("originals/zwx" if words[0] == "prepare" else "5_zwx")
    for number in range(4):  # with the four photos one for each worker
        png_of(home / f"side by side {number}.png", 6_300, 5_000, lines=5_000)
        huge_jpeg(home / f"photo {number}.jpg", 6_300, 5_000, progressive=False)
    for number in range(2):
        png_of(home / f"alone {number}.png", 7_900, 8_000, lines=8_000)
        huge_jpeg(home / f"large photo {number}.jpg", 20_000, 12_000, progressive=False)
    huge_jpeg(home / "all of it.jpg", 23_000, 22_000, progressive=True)
    huge_jpeg(home / "line by line.jpg", 22_000, 23_000, progressive=False)
    command = [sys.executable, "-c", WORST, "dataset", words[0], str(tmp_path / "ds"), *words[1:]]
    with (tmp_path / "said").open("w") as said:
        running = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said)
    tree, peak, most = psutil.Process(running.pid), 0, 0
    while running.poll() is None:
        with suppress(psutil.Error):
            members = [tree, *tree.children(recursive=True)]
            each = [one.memory_info().rss for one in members]
            peak, most = max(peak, sum(each)), max(most, *each)
        time.sleep(0.02)
    told = (tmp_path / "said").read_text()
    print(f"{words[0]}: {peak / 1e9:.2f} GB in all, {most / 1e9:.2f} GB in one")
    assert "Traceback" not in told, told[-2000:]
    assert "all of it.jpg" in told
    assert (peak < WORST_TREE, most < 1000 * BUDGET_KB) == (True, True), (peak, most)
