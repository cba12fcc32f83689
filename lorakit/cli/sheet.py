"""A grid of pictures: checkpoint x strength x prompt, the same seeds everywhere, to choose from.

lorakit sheet maya         every checkpoint at 0.6, 0.8 and 1.0, the run's own sample prompts
lorakit sheet maya --checkpoints last:3 --strengths 0.8,1.0 --seeds 4
lorakit sheet maya --checkpoints 6,8 --prompts "maya_char, portrait" "a red car"
lorakit sheet maya --judged             what lorakit judge listed, and the last at 1.0 beside it
lorakit sheet maya --also inkstyle:0.7  a second LoRA, of a run or a file, under every cell
lorakit sheet maya --with comfyui       drawn by your own ComfyUI, A1111 or Forge, running here
lorakit sheet maya --with comfyui --at http://192.168.1.5:8188 --workflow mine.json
lorakit sheet maya --from-samples       what the training drew; needs no torch and no base model

Beside the PNG stands a page to compare in: enlarge, side by side, flicker, mark the winner.
Pictures are kept in the run's folder: a second sheet draws only what is new. Of your own workflow,
exported or saved, only prompt, seed and LoRA are changed.
"""

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.meant import lora_at, trained_run
from lorakit.cli.terminal.next_step import next_for_run, say_next
from lorakit.cli.terminal.screen import counting
from lorakit.errors import LorakitError
from lorakit.files import at_home
from lorakit.runs.find import find_run, stage_of, whole_of
from lorakit.runs.record import read_record
from lorakit.runs.registry import read_notes
from lorakit.show import print_json, print_text, say

LISTENS = {"comfyui": "http://127.0.0.1:8188", "a1111": "http://127.0.0.1:7860"}


def add_arguments(parser: Parser) -> None:
    parser.run()
    about = "all, last, last:3, or epochs, steps and names: 4,final"
    parser.value("--checkpoints", "WHICH", about, default="all")
    parser.value("--strengths", "N,N", "of the LoRA (default 0.6,0.8,1.0)", default="0.6,0.8,1.0")
    parser.value("--prompts", "TEXT", "instead of the run's sample prompts", nargs="+", default=[])
    parser.number("--seeds", "N", "pictures per cell (default 2)", default=2)
    about = "other LoRAs under this run's, runs or files, such as inkstyle:0.7"
    parser.value("--also", "LORA:S", about, nargs="+", default=[])
    about = "drawn by your own program that is running, not here"
    parser.choice("--with", LISTENS, about, dest="program")
    parser.value("--at", "URL", "with --with: where it listens (default: its usual port, here)")
    parser.path("--workflow", "FILE", "with --with comfyui: your own, exported or saved")
    parser.flag("--judged", "the cells that lorakit judge listed, and the usual choice")
    parser.flag("--no-base", "without the first column, the base alone")
    parser.flag("--from-samples", "use the pictures the training drew, draw nothing")
    about = "a Python with torch (default: this one)"
    parser.value("--python", "FILE", about, default=sys.executable)
    parser.path("--out", "FILE", "where the PNG goes (default: sheet.png in the run's folder)")
    parser.json("one JSON document: the file, its columns, rows and pictures")


def run(args: Arguments) -> None:
    from lorakit.report.sheet_page import write_sheet_page
    from lorakit.sheet.make import Choice, make_sheet, sheet_from_samples

    # samples are there before the first LoRA is
    run_dir = stage_of((find_run if args.from_samples else trained_run)(args.run))
    out = args.out or run_dir / "sheet.png"
    if args.from_samples:
        sheet = sheet_from_samples(run_dir, out=out)
    else:
        choice = Choice(
            args.checkpoints,
            strengths_of(args.strengths),
            tuple(args.prompts),
            seeds_of(args.seeds),
            base=not args.no_base,
            cells=_listed(run_dir) if args.judged else (),
            others=tuple(_others(args.also)),
        )
        with counting("drawing") as progress:
            sheet = make_sheet(
                run_dir,
                choice,
                out=out,
                elsewhere=_artist(args),
                python=args.python,
                say=(lambda _line: None) if args.json else say,
                progress=progress,
            )
    page = out.with_suffix(".html")
    write_sheet_page(sheet, run_dir, page)
    if not args.json:
        print_text(out, page, sep="\n")
        say_next(*next_for_run(run_dir, after="sheet"))
        return
    cells = [
        {
            "prompt": prompt,
            "checkpoint": column.label,
            "lora": column.lora,
            "strength": column.strength,
            "pictures": sheet.pictures.get((at_row, at_column), ()),
        }
        for at_row, prompt in enumerate(sheet.rows)
        for at_column, column in enumerate(sheet.columns)
    ]
    print_json({"sheet": out, "page": page, "cells": cells})


def _artist(args: Arguments) -> Any:
    """Asked for everything that it needs once the sheet is known."""
    from lorakit.sheet.interfaces import A1111, Address, ComfyUI

    if not args.program:
        if args.at or args.workflow:
            raise LorakitError("--at and --workflow need --with comfyui or --with a1111.")
        return None
    address = Address(args.at or LISTENS[args.program])
    if args.program == "comfyui":
        return partial(ComfyUI, address, args.workflow)
    if args.workflow:
        raise LorakitError("--workflow goes with --with comfyui.")
    return partial(A1111, address)


def _others(words: Iterable[str]) -> Iterable[tuple[Path, float]]:
    """A file, or of a run what was noted, else its last; and a strength."""
    for word in words:
        name, said = lora_at(word)
        file, strength = at_home(Path(name)).absolute(), 1.0
        if file.suffix != ".safetensors":
            run_dir = stage_of(trained_run(name))
            record, notes = read_record(run_dir), read_notes(whole_of(run_dir))
            chosen = notes.chosen or f"{record.output_name}.safetensors"
            file, strength = record.output_dir(run_dir) / chosen, notes.strength or strength
        if not file.is_file():
            raise LorakitError(f"--also {word}: there is no {file}.")
        yield file, strength if said is None else said


def _listed(run_dir: Path) -> tuple[tuple[str, float], ...]:
    record = read_record(whole_of(run_dir))
    if not record.judged.listed:
        hint = f"lorakit judge {record.run} makes one."
        raise LorakitError(f"{record.run} has no shortlist.", hint=hint)
    cells = [(cell.checkpoint, cell.strength) for cell in record.judged.listed]
    usual = (f"{record.output_name}.safetensors", 1.0)  # what one would have taken unasked
    known = {(cell.checkpoint, cell.strength) for cell in record.judged.cells}
    return tuple(dict.fromkeys([*cells, *({usual} & known)]))


def strengths_of(text: str) -> tuple[float, ...]:
    try:
        strengths = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        strengths = ()
    if not strengths:
        what = "numbers with commas between, such as 0.6,0.8,1.0."
        raise LorakitError(f"--strengths {text}: {what}")
    return strengths


def seeds_of(count: int) -> int:
    if not 1 <= count <= 100:
        raise LorakitError(f"--seeds {count}: from 1 to 100.")
    return count
