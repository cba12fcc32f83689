"""A copy of a LoRA without private metadata: captions, folders, names, times. Tensors stay.

examples:
  lorakit strip maya.safetensors
  lorakit strip maya.safetensors public.safetensors --keep modelspec.author

What programs need stays: base version, rank, alpha, network module, title, licence, trigger phrase.
"""

from __future__ import annotations

from pathlib import Path

from lorakit.cli.convert import target_of
from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.next_step import say_next
from lorakit.files import at_home
from lorakit.show import print_text


def add_arguments(parser: Parser) -> None:
    parser.value("file", "FILE", type=Path)
    parser.value("target", "OUT", "default: beside it", type=Path, nargs="?")
    parser.many("--keep", "KEY")


def run(args: Arguments) -> None:
    from lorakit.weights.rewrite import strip

    target = target_of(args, "stripped")
    gone = strip(at_home(args.file), target, keep=args.keep)
    print_text(f"wrote {target} without {', '.join(gone) or 'anything less: nothing was private'}")
    say_next(f"lorakit inspect {target}")
