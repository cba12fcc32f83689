"""A sheet as one page that needs nothing else: enlarge, compare, flicker, mark a winner."""

import json
import shlex
from html import escape
from pathlib import Path

from lorakit.files import write_atomic
from lorakit.report.gallery import Budget, Picture, shrink
from lorakit.report.page import element, filled
from lorakit.runs.find import whole_of
from lorakit.runs.record import JudgedCell, read_record
from lorakit.sheet.grid import Column, Sheet

PICTURES = Budget(side=1024, count=2000, size_bytes=120_000_000, quality=88)
SMALL = 160  # pixels: up to here they are shown with hard edges


def write_sheet_page(sheet: Sheet, run_dir: Path, out: Path) -> None:
    record = read_record(whole_of(run_dir))
    run = "/".join(whole_of(run_dir).parts[-2:])
    judged = {(cell.checkpoint, cell.strength): cell for cell in record.judged.cells}
    judged["", 0.0] = JudgedCell(seen=record.judged.base)
    # numbers of a LoRA alone say nothing of it together with others
    of = [
        None if c.others else judged.get((c.lora.name if c.lora else "", c.strength))
        for c in sheet.columns
    ]
    cells = [_told(run, *pair) for pair in zip(sheet.columns, of, strict=True)]
    text = filled(
        "sheet",
        title=escape(sheet.title),
        reason=escape(record.judged.reason),
        grid=_grid(sheet, of),
        footer=escape(f"{sheet.footer}."),
        # </script> and <!-- must not end the block
        cells=json.dumps(cells, ensure_ascii=False).replace("<", "\\u003c"),
    )
    write_atomic(out, text)


def _told(run: str, column: Column, cell: JudgedCell | None) -> dict[str, str]:
    """What the script needs of a column; the base cannot be chosen."""
    command = ""
    if column.lora is not None and column.strength:
        words = ["note", run, "--chosen", column.lora.name, "--strength", f"{column.strength:g}"]
        command = f"lorakit {shlex.join(words)}"
    numbers = " · ".join(filter(None, [cell.verdict, *_measured(cell)])) if cell else ""
    names = {"label": column.label, "under": column.under}
    return {**names, "numbers": numbers, "command": command}


def _measured(cell: JudgedCell) -> list[str]:
    found = (("held-out", cell.held), ("behind", cell.behind), ("drift", cell.drift))
    losses = [f"{word} {value:+.3f}" for word, value in found if value is not None]
    return losses + [f"{word} {value:g}" for word, value in (cell.seen or {}).items()]


def _grid(sheet: Sheet, of: list[JudgedCell | None]) -> str:
    heads = [element("th", "prompt", scope="col")]
    heads += [_head(place, *pair) for place, pair in enumerate(zip(sheet.columns, of, strict=True))]
    files = [file for column in sheet.pictures.values() for file in column]
    shown = dict(zip(files, shrink(files, PICTURES), strict=True))
    rows = ""
    for row, prompt in enumerate(sheet.rows):
        cells = element("th", escape(prompt), scope="row")
        for place, column in enumerate(sheet.columns):
            files_here = sheet.pictures.get((row, place), ())
            shots = "".join(
                _shot(shown[file], prompt, f"{column.label}, {column.under}", (row, place, seed))
                for seed, file in enumerate(files_here)
            )
            shots = element("div", shots, class_="shots")
            cells += element("td", shots, data_column=str(place))
        rows += element("tr", cells)
    head = element("tr", "".join(heads))
    return element("table", element("thead", head) + element("tbody", rows))


def _head(place: int, column: Column, cell: JudgedCell | None) -> str:
    inside = element("span", escape(column.label), class_="label")
    inside += element("span", escape(column.under), class_="under")
    if cell is not None:
        if cell.verdict:
            inside += " " + element("span", escape(cell.verdict), class_=f"verdict {cell.verdict}")
        inside += element("span", "<br>".join(map(escape, _measured(cell))), class_="numbers")
    return element("th", inside, scope="col", data_column=str(place))


def _shot(picture: Picture, prompt: str, cell: str, place: tuple[int, int, int]) -> str:
    if not picture.url:
        return element("span", escape(picture.fault or "left out: the page is full"), class_="soft")
    kind = ' class="small"' if max(picture.width, picture.height) <= SMALL else ""
    image = f'<img src="{picture.url}" alt="{escape(f"{prompt}: {cell}")}"{kind} loading="lazy"'
    image += f' width="{picture.width}" height="{picture.height}">'
    row, column, seed = map(str, place)
    return element(
        "button",
        image,
        type="button",
        data_row=row,
        data_column=column,
        data_seed=seed,
        data_prompt=prompt,
    )
