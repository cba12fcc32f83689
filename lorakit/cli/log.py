"""What a run printed.

examples:
  lorakit log                       # the latest run, its last 40 lines
  lorakit log maya -n 200
  lorakit log maya -f               # go on until the run ends
  lorakit log maya --raw > log.txt  # every byte as it came

RUN is a name, NAME/DATE, the beginning of a date, a path, or `latest`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from lorakit.logfile import Tail, last_lines, text_of
from lorakit.runs.find import LATEST, find_run, live_state, stage_of
from lorakit.runs.folder import LOG
from lorakit.runs.record import read_record
from lorakit.show import print_text, say

POLL_S = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default=LATEST, metavar="RUN")
    parser.add_argument("-n", "--lines", type=int, default=40, metavar="N")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    parser.add_argument("--raw", action="store_true", help="the file as it is, every byte")


def run(args: argparse.Namespace) -> int:
    run_dir = stage_of(find_run(args.run))
    path = run_dir / LOG
    if args.raw:
        return _raw(path)
    size = path.stat().st_size if path.is_file() else 0
    for line in last_lines(path, args.lines):
        print_text(line)
    return _follow(run_dir, size) if args.follow else 0


def _raw(path: Path) -> int:
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sys.stdout.buffer.write(block)
    except FileNotFoundError:
        say(f"{path} does not exist.")
        return 1
    return 0


def _follow(run_dir: Path, offset: int) -> int:
    tail = Tail(run_dir / LOG, offset)
    while True:
        if not run_dir.is_dir():
            say(f"{run_dir} is gone.")
            return 1
        over = live_state(read_record(run_dir)) not in {"running", "unattended"}
        for part in tail.drain() if over else [tail.read()]:
            for line in filter(None, map(text_of, part)):
                print_text(line, flush=True)
        if over:
            return 0
        time.sleep(POLL_S)
