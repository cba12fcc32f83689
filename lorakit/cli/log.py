"""What a run printed.

lorakit log                       # the latest run, its last 40 lines
lorakit log maya -n 200
lorakit log maya -f               # go on until the run ends
lorakit log maya --raw > log.txt  # every byte as it came
"""

import shutil
import sys
import time
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.logfile import Tail, last_lines, text_of
from lorakit.runs.find import find_run, live_state, stage_of
from lorakit.runs.folder import LOG
from lorakit.runs.record import read_record
from lorakit.show import print_text, say

POLL_S = 0.3


def add_arguments(parser: Parser) -> None:
    parser.run()
    parser.number("-n --lines", "N", default=40)
    parser.flag("-f --follow", "go on until the run ends")
    parser.flag("--raw", "the file as it is, every byte")


def run(args: Arguments) -> int:
    run_dir = stage_of(find_run(args.run))
    path = run_dir / LOG
    if args.raw:
        try:
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
        except FileNotFoundError:
            say(f"{path} does not exist.")
            return 1
        return 0
    size = path.stat().st_size if path.is_file() else 0
    for line in last_lines(path, args.lines):
        print_text(line)
    return _follow(run_dir, size) if args.follow else 0


def _follow(run_dir: Path, offset: int) -> int:
    tail = Tail(run_dir / LOG, offset)
    while run_dir.is_dir():
        over = live_state(read_record(run_dir)) not in {"running", "unattended"}
        for part in tail.drain() if over else [tail.read()]:
            for line in filter(None, map(text_of, part)):
                print_text(line, flush=True)
        if over:
            return 0
        time.sleep(POLL_S)
    say(f"{run_dir} is gone.")
    return 1
