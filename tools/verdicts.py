"""What `lorakit plan --for CARD` says about memory: five presets on four cards, and beside the
peaks that were measured. Writes docs/hardware.md.

    python tools/verdicts.py          rewrites the page
    python tools/verdicts.py --show   prints it instead

Every verdict is a plan's own, made over a drawn dataset; nothing is trained here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE / "tests")]

from plan_cases import folder, recipe  # noqa: E402  (the tool runs from a plain checkout of ours)

from lorakit.files import write_atomic  # noqa: E402
from lorakit.machine import machine_named  # noqa: E402
from lorakit.plan.make import make_plan  # noqa: E402
from lorakit.plan.model import Verdict  # noqa: E402
from lorakit.recipe.resolve import resolve  # noqa: E402

PAGE = HERE / "docs" / "hardware.md"
PRESETS = ("sd15", "sdxl", "sdxl-12gb", "flux", "flux-8gb")
CARDS = ("rtx4060", "rtx3060", "rtx4080", "rtx4090")


class Measured(NamedTuple):
    """A peak by the driver's own count, CUDA context included, of both trainers on one H100:
    full-size random weights, latents and captions cached, AdamW, torch's own attention.
    """

    what: str
    family: str
    train: Mapping[str, Any]
    before: tuple[float, float]  # what the estimate said before it was held against the card
    low: float  # GB: sd-scripts, embedded, or the range of several runs
    high: float


CACHED = {
    "mixed_precision": "bf16",
    "network_train_unet_only": True,
    "cache_latents": True,
    "cache_text_encoder_outputs": True,
}
CHECKPOINTED = {"gradient_checkpointing": True}
SDXL = {**CACHED, "resolution": "1024", "network_dim": 32}
SD15 = {**CACHED, "network_dim": 32}
FLUX = {
    **CACHED,
    **CHECKPOINTED,
    "resolution": "1024",
    "network_dim": 16,
    "network_module": "networks.lora_flux",
}
PEAKS = {
    "sd15": Measured("SD1.5, 512, batch 1", "sd15", SD15, (4.8, 8.9), 6.1, 6.4),
    "sd15-batch-4": Measured(
        "SD1.5, 512, batch 4", "sd15", SD15 | {"train_batch_size": 4}, (11.1, 22.4), 9.1, 10.5
    ),
    "sdxl-checkpointed": Measured(
        "SDXL, 1024, batch 1, checkpointing", "sdxl", SDXL | CHECKPOINTED, (8.1, 12), 9.3, 10.3
    ),
    "sdxl": Measured("SDXL, 1024, batch 1", "sdxl", SDXL, (13, 23), 18.2, 18.5),
    "flux-fp8": Measured(
        "FLUX, 1024, batch 1, checkpointing, fp8_base",
        "flux",
        FLUX | {"fp8_base": True},
        (16, 22),
        19.0,
        19.0,
    ),
    # torch's own count; the driver's was not taken, and is higher
    "flux": Measured("FLUX, 1024, batch 1, checkpointing", "flux", FLUX, (28, 35), 27.6, 27.8),
}


def of_preset(root: Path, preset: str, card: str) -> Verdict:
    """The plan's verdict for a preset as it is, over eight pictures."""
    folder(root / "data" / "10_maya_char", [(1024, 1024)] * 8)
    file = root / "recipes" / f"{preset}.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        f'preset = "{preset}"\nname = "maya"\ntrigger = "maya_char"\n[dataset]\npath = "data"\n'
    )
    resolved, faults = resolve(file)
    plan = make_plan(resolved, faults, run_dir=root / "run", machine=machine_named(card))
    assert plan.verdict
    return plan.verdict


def of_measured(root: Path, one: Measured, card: str) -> Verdict:
    folder(root / "data" / "1_maya", [(512, 512)] * 4)
    plan = make_plan(
        recipe(root, one.train, family=one.family),
        run_dir=root / "run",
        machine=machine_named(card),
    )
    assert plan.verdict
    return plan.verdict


def page(root: Path) -> Iterator[str]:
    cards = [machine_named(card).trains_on for card in CARDS]
    columns = " | ".join(f"{card.name}, {card.memory_bytes // 10**9} GB" for card in cards)
    yield HEAD
    yield f"| preset | {columns} |"
    yield "|---" * (1 + len(CARDS)) + "|"
    for preset in PRESETS:
        cells = " | ".join(str(of_preset(root, preset, card)) for card in CARDS)
        yield f"| {preset} | {cells} |"
    yield MEASURED
    yield f"| settings | measured, GB | planned, GB | {columns} |"
    yield "|---" * (3 + len(CARDS)) + "|"
    for one in PEAKS.values():
        found = [of_measured(root, one, card) for card in CARDS]
        peak = f"{one.low}" if one.low == one.high else f"{one.low} to {one.high}"
        planned = f"{found[0].low / 1e9:.1f} to {found[0].high / 1e9:.1f}"
        words = " | ".join(verdict.word for verdict in found)
        yield f"| {one.what} | {peak} | {planned} | {words} |"
    yield TAIL


HEAD = """\
# Which card holds which preset

Written by `python tools/verdicts.py`; `tests/plan/test_memory_measured.py` holds it to the code.
`lorakit plan RECIPE --for rtx3060` (or `cuda:12`, `mps:32`, `cpu`) judges a card that you mean to
rent or buy, `lorakit presets --fits 12GB` lists what a memory holds.

What `plan --for` says about each preset as it is shipped:
"""
MEASURED = """
The same verdict beside peaks that were measured: both trainers on one H100, full-size random
weights, bf16, rank 32 (FLUX 16), latents and captions cached, AdamW. A card is never told to fit
what was seen to need more than it has, nor to be too small for what was seen to need less.
"""
TAIL = """
Peaks are the driver's own count, CUDA context included; FLUX without fp8 is torch's count, which
leaves the context out. Other settings are judged by the same arithmetic, called rough, and given a
wider range."""


def text() -> str:
    with tempfile.TemporaryDirectory(prefix="lorakit-verdicts-") as name:
        return "\n".join([*page(Path(name)), ""])


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--show", action="store_true", help="print the page, write nothing")
    if parser.parse_args(argv).show:
        print(text())
    else:
        write_atomic(PAGE, text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
