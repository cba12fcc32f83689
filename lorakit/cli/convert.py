"""The same LoRA under other names of keys: kohya's, diffusers' (PEFT, ai-toolkit), ComfyUI's.

lorakit convert maya.safetensors --to diffusers
lorakit convert zimage-by-musubi.safetensors --to comfy
lorakit convert flux-by-ai-toolkit.safetensors out.safetensors --to kohya --dtype F32

Says how far delta-W of the new file is from the old one's: zero, or the rounding of the format.
"""

from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.next_step import say_next
from lorakit.show import print_text, say
from lorakit.weights.keys import FORMS, read_lora

DTYPES = ("F32", "F16", "BF16")


def add_arguments(parser: Parser) -> None:
    parser.path("file", "FILE")
    add_target(parser)
    parser.choice("--to", FORMS, required=True)


def add_target(parser: Parser) -> None:
    parser.path("target", "OUT", "default: beside it", nargs="?")
    parser.choice("--dtype", DTYPES, "default: as it is", default="")


def target_of(args: Arguments, word: str) -> Path:
    file: Path = args.file
    return args.target or file.with_name(f"{file.stem}-{word}{file.suffix}")


def run(args: Arguments) -> None:
    from lorakit.weights.rewrite import convert

    done = convert(read_lora(args.file), target_of(args, args.to), args.to, args.dtype)
    say(*done.notes)
    print_text(f"wrote {done.path}: {done.modules} modules, delta-W equal to {done.error:.1e}")
    say_next(f"lorakit inspect {done.path}")
