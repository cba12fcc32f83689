"""What `lorakit verify` costs beside `sha256sum` of the same files: 2 GB of model files and 1,000
images, with no remembered hashes.

The second peer is `openssl dgst -sha256`, where there is one: unlike many builds of sha256sum it
uses the processor's own instructions.

    python tools/bench_verify.py [--model-mb 2048] [--images 1000] [--rounds 3] [--place DIR]

All read from the page cache. Side by side: as many processes of a peer as there are cores against
verify as it is, and one process against verify on one core. Prints ratios; exits 1 where verify
takes more than 1.15 times as long plus half a second for its own start.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = 5  # model files: base, VAE, text encoders
IMAGE_BYTES = 1_200_000
LIMIT, START_S = 1.15, 0.5
PEERS = {"sha256sum": ["sha256sum"], "openssl dgst -sha256": ["openssl", "dgst", "-sha256"]}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model-mb", type=int, default=2048)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", type=Path, help="where the files are made; they are removed")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(dir=args.place) as name:
        folder = Path(name)
        files = make(folder, args.model_mb << 20, args.images)
        size = sum(path.stat().st_size for path in files)
        print(
            f"{len(files)} files, {size / 1e9:.2f} GB, {cores} cores; the best of {args.rounds},"
            " from the page cache"
        )
        bad = False
        for title, processes, on in (
            (f"{cores} at a time", cores, range(cores)),
            ("one at a time", 1, [0]),
        ):
            ours: list[float] = []
            theirs: dict[str, list[float]] = {
                peer: [] for peer in PEERS if shutil.which(PEERS[peer][0])
            }
            for _ in range(args.rounds):  # in turn, so that other work on the machine meets all
                ours.append(verify(folder, set(on)))
                for peer, took in theirs.items():
                    took.append(sums(PEERS[peer], files, processes, set(on)))
            print(f"{title}: verify {said(ours, size)}")
            for peer, took in theirs.items():
                print(
                    f"  {peer} {said(took, size)}: verify takes {min(ours) / min(took):.2f} times"
                    " as long"
                )
                bad |= min(ours) > LIMIT * min(took) + START_S
    return int(bad)


def said(took: list[float], size: int) -> str:
    return f"{min(took):.2f} s ({size / min(took) / 1e6:.0f} MB/s)"


def make(folder: Path, model_bytes: int, images: int) -> list[Path]:
    """A finished run as `verify` reads it, with random bytes for weights and images."""
    run = folder / "runs" / "fox" / "20260101-120000"
    (folder / "data" / "10_fox").mkdir(parents=True)
    run.mkdir(parents=True)
    weights = [
        written(folder / f"model-{number}.safetensors", model_bytes // PARTS)
        for number in range(PARTS)
    ]
    pictures = [
        written(folder / "data" / "10_fox" / f"{number:04}.png", IMAGE_BYTES)
        for number in range(images)
    ]
    (run / "dataset.json").write_text(
        json.dumps(
            [
                {
                    "image": f"10_fox/{path.name}",
                    "sha256": digest,
                    "caption": None,
                    "caption_sha256": None,
                    "repeats": 10,
                }
                for path, digest in pictures
            ]
        )
    )
    (run / "record.json").write_text(
        json.dumps(
            {
                "schema": 1,
                "state": "done",
                "name": "fox",
                "started": "2026-01-01T12:00:00+00:00",
                "settings": {},
                "steps": {},
                "trainer": {},
                "dataset": {"root": str(folder / "data")},
                "checkpoints": [],
                "outcome": {},
                "weights": [
                    {"key": path.stem, "path": str(path), "sha256": digest}
                    for path, digest in weights
                ],
            }
        )
    )
    return [path for path, _ in [*weights, *pictures]]


def written(path: Path, size: int) -> tuple[Path, str]:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for begin in range(0, size, 1 << 22):
            block = os.urandom(min(1 << 22, size - begin))
            digest.update(block)
            file.write(block)
    return path, digest.hexdigest()


def verify(folder: Path, cores: set[int]) -> float:
    """The whole command, start included, with an empty memory of hashes."""
    with tempfile.TemporaryDirectory() as cache:
        return timed(
            [sys.executable, "-m", "lorakit", "verify", "latest"],
            cores,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": cache},
        )


def sums(peer: list[str], files: list[Path], processes: int, cores: set[int]) -> float:
    """By xargs: 8 files to a process, the big ones first, so that no core is left with one of them
    at the end.
    """
    return timed(
        ["xargs", "-0", "-P", str(processes), "-n", "8", *peer],
        cores,
        text="\0".join(map(str, spread(files))) + "\0",
    )


def spread(files: list[Path]) -> list[Path]:
    """The model files at the heads of different batches of 8."""
    big, small = files[:PARTS], files[PARTS:]
    heads = [
        path
        for number, one in enumerate(big)
        for path in (one, *small[7 * number : 7 * number + 7])
    ]
    return heads + small[7 * len(big) :]


def timed(
    argv: list[str],
    cores: set[int],
    *,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    text: str = "",
) -> float:
    began = time.monotonic()
    subprocess.run(
        argv,
        cwd=cwd,
        env=env,
        input=text,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
