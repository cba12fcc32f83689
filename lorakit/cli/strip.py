"""A copy of a LoRA without private metadata: captions, folders, names, times. Tensors stay.

lorakit strip maya.safetensors
lorakit strip maya.safetensors public.safetensors --keep modelspec.author

What programs need stays: base version, rank, alpha, network module, title, licence, trigger phrase.
"""

from lorakit.cli.convert import target_of
from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.next_step import say_next
from lorakit.show import print_text


def add_arguments(parser: Parser) -> None:
    parser.path("file", "FILE")
    parser.path("target", "OUT", "default: beside it", nargs="?")
    parser.many("--keep", "KEY")


def run(args: Arguments) -> None:
    from lorakit.weights.rewrite import strip

    target = target_of(args, "stripped")
    gone = strip(args.file, target, keep=args.keep)
    print_text(f"wrote {target} without {', '.join(gone) or 'anything less: nothing was private'}")
    say_next(f"lorakit inspect {target}")
