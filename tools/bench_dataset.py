"""How fast the dataset commands are, as ratios against named peers in one run: python
tools/bench_dataset.py [--images 40] [--small 50000] [--json]

Take the ratios from an idle machine: lorakit uses every core, the peers one each. Peers:
ImageMagick's mogrify as the guides use it (left out, aloud, where it is not installed); a plain
Pillow loop; decoding alone.
 Pictures are drawn: 12-megapixel JPEGs of about 4 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from lorakit.dataset.buckets import BucketRules
from lorakit.dataset.build.fit import Settings, plan_fit, render
from lorakit.dataset.build.jobs import jobs_of
from lorakit.dataset.build.prepare import prepare
from lorakit.dataset.check import CheckSettings, check
from lorakit.dataset.check.measures import near_pairs
from lorakit.dataset.scan import scan
from lorakit.pictures.pool import worker_count
from lorakit.proc import ask

DRAWN = 4  # different pictures; the rest are copies with other bytes at the end
RULES = BucketRules((1024, 1024), max=2048)
GOALS = {
    "letterbox 512: lorakit / mogrify": 8.0,
    "bucket 1024: lorakit / mogrify": 4.0,
    "check: first run / decoding alone": 1.0,
}


def draw(seed: int, size: tuple[int, int] = (4000, 3000)) -> bytes:
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    image = Image.fromarray(noise.integers(0, 255, (24, 32, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    pen = ImageDraw.Draw(image)
    for _ in range(400):
        x, y, r = rng.randrange(size[0]), rng.randrange(size[1]), rng.randrange(4, 220)
        pen.ellipse(
            [x - r, y - r, x + r, y + r],
            outline=tuple(rng.randrange(256) for _ in range(3)),
            width=rng.randrange(1, 9),
        )
    grain = np.asarray(image, dtype=np.int16) + noise.normal(0, 5, (size[1], size[0], 1)).astype(
        np.int16
    )
    buffer = BytesIO()
    Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def photos(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True)
    pictures = [draw(seed) for seed in range(min(DRAWN, count))]
    paths = []
    for index in range(count):
        path = folder / f"photo {index:03}.jpg"
        path.write_bytes(pictures[index % len(pictures)] + index.to_bytes(4, "big"))
        path.with_suffix(".txt").write_text(
            f"qb_fox, picture number {index}, hill {index * 7}", encoding="utf-8"
        )
        paths.append(path)
    return paths


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def mogrify(paths: Sequence[Path], out: Path, options: Sequence[str]) -> float | None:
    """The guides' command on copies; the copying is not counted."""
    if not shutil.which("mogrify"):
        return None
    out.mkdir()
    copies = [shutil.copy(path, out / path.name) for path in paths]
    start = time.perf_counter()
    answer = ask(
        ["mogrify", "-auto-orient", "-strip", *options, "-quality", "95", *map(str, copies)],
        timeout_s=3600,
    )
    spent = time.perf_counter() - start
    if answer.code:
        sys.exit(f"mogrify: {answer.err}")
    return spent


def pillow_loop(paths: Sequence[Path], out: Path, side: int = 512) -> None:
    out.mkdir()
    for path in paths:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=None)
        canvas = Image.new("RGB", (side, side), "white")
        canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        canvas.save(out / path.name, quality=95)


def ours(paths: Sequence[Path], root: Path, settings: Settings) -> float:
    """The whole of `dataset prepare`: hashing, manifest, thumbnails for the sheet, syncing to
    disk.
    """
    return seconds(
        lambda: prepare(root, jobs_of(root, settings, source=paths[0].parent, trigger="qb_fox"))
    )


def decode_all(paths: Sequence[Path]) -> None:
    for path in paths:
        with Image.open(path) as image:
            image.load()


def psnr(path: Path, settings: Settings) -> float:
    """Against Lanczos from the full decode; before encoding, so that only the way of shrinking is
    judged.
    """
    with Image.open(path) as image:
        full = image.convert("RGB")
    geometry = plan_fit(full.size, settings)
    wanted = np.asarray(
        full.resize(geometry.scaled, Image.Resampling.LANCZOS, box=geometry.box), dtype=np.float64
    )
    with Image.open(BytesIO(render(path, settings).data)) as image:
        got = np.asarray(image, dtype=np.float64)
    top, left = ((got.shape[i] - wanted.shape[i]) // 2 for i in (0, 1))
    got = got[top : top + wanted.shape[0], left : left + wanted.shape[1]]
    return float(10 * np.log10(255**2 / max(1e-6, float(np.mean((got - wanted) ** 2)))))


MEMORY = """
import resource, sys
from lorakit.cli.main import main
code = main(sys.argv[1:])
own, workers = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print("peak", own.ru_maxrss, workers.ru_maxrss)
sys.exit(code)
"""


def peak_mb(paths: Sequence[Path], root: Path) -> float:
    """The command, and every worker taken as large as the largest of them ever was."""
    words = ["dataset", "prepare", str(root), "--from", str(paths[0].parent)]
    answer = ask([sys.executable, "-c", MEMORY, *words], timeout_s=3600)
    if answer.code:
        sys.exit(f"prepare: {answer.err}")
    own, worker = (int(number) for number in answer.out.split()[-2:])
    unit = (
        1 if sys.platform == "darwin" else 1024
    )  # ru_maxrss is kilobytes on Linux, bytes on macOS
    return (own + worker_count() * worker) * unit / 1e6


def measure(work: Path, count: int) -> list[tuple[str, float, str]]:
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn")
    ) as pool:  # drawing takes memory that must not be counted
        paths = pool.submit(photos, work / "photos", count).result()
    rows: list[tuple[str, float, str]] = []
    letterbox = Settings("letterbox", (512, 512))
    bucket = Settings("bucket", rules=RULES)
    memory = peak_mb(
        paths, work / "m"
    )  # first, while this process is still small: children start as its image
    t_ours = ours(paths, work / "a", letterbox)
    t_bucket = ours(paths, work / "b", bucket)
    t_loop = seconds(lambda: pillow_loop(paths, work / "c"))
    t_mogrify = mogrify(
        paths,
        work / "d",
        ["-resize", "512x512>", "-background", "white", "-gravity", "center", "-extent", "512x512"],
    )
    t_mogrify_bucket = mogrify(
        paths, work / "e", ["-resize", "1152x896^", "-gravity", "center", "-extent", "1152x896"]
    )
    rows += [
        ("letterbox 512: lorakit, images/s", count / t_ours, ""),
        ("letterbox 512: lorakit / plain Pillow loop", t_loop / t_ours, "x"),
    ]
    if t_mogrify and t_mogrify_bucket:
        rows += [
            ("letterbox 512: lorakit / mogrify", t_mogrify / t_ours, "x"),
            ("bucket 1024: lorakit / mogrify", t_mogrify_bucket / t_bucket, "x"),
        ]
    rows.append(
        (
            "letterbox 512: PSNR against full Lanczos",
            min(
                psnr(path, Settings("letterbox", (512, 512), format="png"))
                for path in paths[:DRAWN]
            ),
            "dB",
        )
    )
    rows.append(
        (
            "bucket 1024: PSNR against full Lanczos",
            min(
                psnr(path, Settings("bucket", rules=RULES, format="png")) for path in paths[:DRAWN]
            ),
            "dB",
        )
    )
    rows.append(("prepare: peak memory, command and workers", memory, "MB"))
    return rows + measure_check(paths, work)


def small_pictures(folder: Path, count: int) -> None:
    """All different, of about 10 kB, each with a caption."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(7)
    grain = noise.normal(0, 2, (40, 192, 256, 1))
    for index in range(count):
        ground = Image.fromarray(noise.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        image = ground.resize((256, 192), Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(image)
        for x, y, r in noise.integers(0, (256, 192, 40), (12, 3)).tolist():
            pen.ellipse([x - r, y - r, x + r, y + r], outline=(x, y, 5 * r), width=2)
        shades = np.asarray(image) + grain[index % 40]
        path = folder / f"picture {index:05}.jpg"
        Image.fromarray(shades.clip(0, 255).astype(np.uint8)).save(path, "JPEG", quality=80)
        path.with_suffix(".txt").write_text(
            f"qb_fox, number {index}, hill {index * 7}, {index % 5}"
        )


def cpu_seconds(argv: Sequence[str], cache: Path) -> float:
    """Of the command and all its workers: what the clock says depends on who else computes."""
    before = os.times()
    answer = ask(argv, env={**os.environ, "XDG_CACHE_HOME": str(cache)}, timeout_s=3600)
    after = os.times()
    if answer.code:
        sys.exit(f"{argv}: {answer.err}")
    return sum(after[2:4]) - sum(before[2:4])


def measure_small(work: Path, count: int) -> list[tuple[str, float, str]]:
    """The whole command, for 256x192 JPEGs that it has never seen, and again."""
    small_pictures(work / "small" / "1_qb_fox", count)
    files = sorted((work / "small" / "1_qb_fox").glob("*.jpg"))
    before = time.process_time()
    decode_all(files)
    decoding = time.process_time() - before
    argv = [sys.executable, "-m", "lorakit", "dataset", "check", str(work / "small"), "--json"]
    first, second = (cpu_seconds(argv, work / "cache") for _ in range(2))
    name = f"check of {count:,} small pictures"
    return [
        (f"{name}: processor time", first, "s"),
        (f"{name}: each", 1000 * first / count, "ms"),
        (f"{name}: decoding alone, each", 1000 * decoding / count, "ms"),
        (f"{name}: again, unchanged", second, "s"),
    ]


def measure_check(paths: list[Path], work: Path) -> list[tuple[str, float, str]]:
    root = work / "data"
    shutil.copytree(work / "photos", root / "10_qb_fox")
    t_decode = seconds(lambda: decode_all(paths))
    t_first = seconds(lambda: check(scan(root), CheckSettings("qb_fox")))
    t_second = seconds(lambda: check(scan(root), CheckSettings("qb_fox")))
    rows = [
        ("check: first run / decoding alone", t_decode / t_first, "x"),
        ("check: second run, nothing changed", t_second, "s"),
    ]
    hashes = [random.Random(7).getrandbits(64) for _ in range(10_000)]
    hashes[1::97] = [value ^ 5 for value in hashes[::97]][: len(hashes[1::97])]
    rows.append(("near-duplicates among 10,000 hashes", seconds(lambda: near_pairs(hashes)), "s"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images",
        type=int,
        default=40,
        help="how many 12-megapixel JPEGs (default 40; the goals speak of 200)",
    )
    parser.add_argument("--small", type=int, help="only check this many 256x192 JPEGs (50000)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lorakit-bench-") as folder:
        if args.small:
            rows = measure_small(Path(folder), args.small)
        else:
            rows = measure(Path(folder), max(DRAWN, args.images))
    if args.json:
        print(
            json.dumps(
                [{"what": what, "value": value, "unit": unit} for what, value, unit in rows],
                indent=1,
            )
        )
        return
    if not shutil.which("mogrify"):
        print("mogrify is not installed; its rows are left out")
    for what, value, unit in rows:
        goal = f"   (goal {GOALS[what]:g})" if what in GOALS else ""
        print(f"{what:45} {value:9.2f} {unit}{goal}")


if __name__ == "__main__":  # workers are started afresh and import this file
    main()
