"""A copy of a LoRA without private metadata: captions, folders, names, times. Tensors stay.

examples:
  lorakit strip maya.safetensors
  lorakit strip maya.safetensors public.safetensors --keep modelspec.author

What programs need stays: base version, rank, alpha, network module, title, licence, trigger phrase.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lorakit.cli.convert import target_of
from lorakit.cli.terminal.next_step import say_next
from lorakit.files import at_home
from lorakit.show import print_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("target", type=Path, nargs="?", metavar="OUT", help="default: beside it")
    parser.add_argument("--keep", action="append", default=[], metavar="KEY")


def run(args: argparse.Namespace) -> int:
    from lorakit.weights.rewrite import strip

    target = target_of(args, "stripped")
    gone = strip(at_home(args.file), target, keep=args.keep)
    print_text(f"wrote {target} without {', '.join(gone) or 'anything less: nothing was private'}")
    say_next(f"lorakit inspect {target}")
    return 0
