"""A LoRA at a lower rank, by singular values, with the share of every block that is lost.

lorakit resize maya.safetensors --rank 16
lorakit resize maya.safetensors --rank 64 --keep 0.95    as few ranks as hold 95 % of each module
"""

from lorakit.cli.convert import add_target, target_of
from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.next_step import say_next
from lorakit.errors import refused
from lorakit.show import print_text, say, table
from lorakit.weights.keys import read_lora


def add_arguments(parser: Parser) -> None:
    parser.path("file", "FILE")
    add_target(parser)
    parser.number("--rank", "R", "the most a module has", required=True)
    parser.value("--keep", "SHARE", "of the Frobenius norm, 0 to 1", type=float, default=1.0)


def run(args: Arguments) -> None:
    from lorakit.weights.rewrite import cut_ranks

    if args.rank < 1 or not 0 < args.keep <= 1:
        raise refused("--rank, --keep", "a rank is 1 or more, a share above 0 and at most 1.")
    lora = read_lora(args.file)
    target = target_of(args, f"r{args.rank}")
    done = cut_ranks(lora, target, args.rank, energy=args.keep, dtype=args.dtype)
    say(*done.notes)
    table(("block", "lost"), [(block, f"{one:.2%}") for block, one in done.blocks.items()])
    print_text(f"wrote {done.path}: {done.error:.2%} of delta-W lost")
    say_next(f"lorakit inspect {done.path}")
