"""Several LoRAs in one, each with a weight; or LoRAs into a base model.

lorakit merge maya.safetensors=0.8 style.safetensors=0.5 -o both.safetensors
lorakit merge maya.safetensors style.safetensors --rank 32 -o both.safetensors
lorakit merge maya.safetensors=0.8 --into models/sdxl-base.safetensors -o merged.safetensors

A sum of LoRAs is exact: its rank is the sum of theirs, unless --rank cuts it.
"""

from pathlib import Path

from lorakit.cli.convert import DTYPES
from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.next_step import say_next
from lorakit.errors import refused
from lorakit.files import at_home
from lorakit.show import print_text
from lorakit.weights.keys import FORMS, LoraFile, read_lora


def add_arguments(parser: Parser) -> None:
    parser.value("files", "FILE[=WEIGHT]", nargs="+")
    parser.path("-o --out", "OUT", required=True)
    parser.path("--into", "BASE", "a checkpoint of one file; a copy is written")
    parser.number("--rank", "R", "cut the sum to this rank", default=0)
    parser.choice("--to", FORMS, "names of keys (default: kohya)", default="kohya")
    parser.choice("--dtype", DTYPES, "default: as the first has it", default="")


def run(args: Arguments) -> None:
    from lorakit.weights.rewrite import merge_into_base, merge_loras

    loras, out = [_weighted(text) for text in args.files], args.out
    if args.into:
        done = merge_into_base(args.into, loras, out)
        print_text(f"wrote {done.path}: {done.modules} layers changed")
        return
    done = merge_loras(loras, out, form=args.to, rank=args.rank, dtype=args.dtype)
    lost = f", at most {done.error:.2%} of a module lost" if args.rank else ""
    print_text(f"wrote {done.path}: {done.modules} modules{lost}")
    say_next(f"lorakit inspect {done.path}")


def _weighted(text: str) -> tuple[LoraFile, float]:
    name, equals, weight = text.rpartition("=")
    try:
        number = float(weight) if equals else 1.0
    except ValueError:
        raise refused(text, f"{weight!r} is no weight.", "Write FILE=0.8.") from None
    return read_lora(at_home(Path(name if equals else text))), number
