"""Take back what `lorakit deploy` put into a program's folder.

  lorakit undeploy maya
  lorakit undeploy maya --to comfyui

Removed is what lorakit wrote there, unless somebody has changed it since; a LoRA that --replace had
put aside gets its name back. The run keeps its LoRA.
"""

from __future__ import annotations

import argparse

from lorakit.deploy.deliver import FOLDERS
from lorakit.deploy.history import take_back
from lorakit.runs.find import find_run
from lorakit.show import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="name, date, path or latest")
    parser.add_argument("--to", choices=list(FOLDERS), help="only from there")


def run(args: argparse.Namespace) -> int:
    run_dir = find_run(args.run)
    say(*take_back(run_dir.parents[2], "/".join(run_dir.parts[-2:]), args.to))
    return 0
