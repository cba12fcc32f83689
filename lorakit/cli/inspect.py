"""What a LoRA file is: family, rank, alpha, training, trigger, hashes; and what its numbers say.

lorakit inspect maya.safetensors
lorakit inspect downloads/style.safetensors --numbers     norms per block, zero or NaN modules
lorakit inspect maya.safetensors --json

Reads the forms of kohya, musubi, diffusers, PEFT, ai-toolkit, ComfyUI and LyCORIS. Never unpickles.
The numbers are read without being asked for in files under 100 MB.
"""

from collections.abc import Mapping

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.next_step import say_next
from lorakit.show import print_json, print_text, size
from lorakit.weights.lora_facts import LoraFacts, lora_facts

SMALL = 100_000_000  # bytes that are read in a blink


def add_arguments(parser: Parser) -> None:
    parser.path("file", "FILE")
    parser.flag("--numbers", "read them also where it takes time")
    parser.json("one JSON document on stdout")


def run(args: Arguments) -> int:
    small = args.file.is_file() and args.file.stat().st_size < SMALL
    facts = lora_facts(args.file, numbers=args.numbers or small)
    if args.json:
        print_json(facts)
    else:
        _show(facts)
        say_next(f"lorakit import {args.file}", "a recipe of what it says of its training")
    return 1 if facts.not_finite else 0


def _show(facts: LoraFacts) -> None:
    rows = {
        "file": f"{facts.path} ({size(facts.size_bytes)})",
        "family": facts.family or "not said, and not to be seen from its names",
        "form": facts.form,
        "modules": f"{_counts(facts.parts)}; {_counts(facts.kinds)}",
        "rank": _counts(facts.ranks),
        "alpha": _counts(facts.alphas) or "in its numbers: --numbers",
        "numbers": ", ".join(sorted(facts.dtypes)),
        **facts.training,
        "trigger": facts.trigger and f"{facts.trigger} (a guess from its metadata)",
        "AutoV2": facts.autov2 or "takes a reading of the whole file: --numbers",
        "AutoV3": facts.autov3,
    }
    for name, value in rows.items():
        if value:
            print_text(f"{name:>25}  {value}")
    for block, norm in facts.norms.items():
        print_text(f"{f'norm of {block}':>40}  {norm:.4g}")
    for names, what in (
        (facts.zero, "are zero, so they do nothing"),
        (facts.not_finite, "hold NaN or infinity, so the file is broken"),
        (facts.incomplete, "lack one of their tensors"),
        (facts.others, "are tensors of no adapter that lorakit knows"),
    ):
        if names:
            print_text(f"{len(names)} {what}: {', '.join(names[:3])}{' ...' * (len(names) > 3)}")


def _counts(found: Mapping[str, int] | Mapping[int, int] | Mapping[float, int]) -> str:
    """One value alone, or how often each."""
    if len(found) == 1 and not isinstance(next(iter(found)), str):
        return f"{next(iter(found)):g}"
    return ", ".join(f"{name} x {count}" for name, count in found.items())
