"""Each part of the page as HTML: outcome, curves, samples, checkpoints, dataset, settings,
origins.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lorakit.errors import counted
from lorakit.report.advice import Advice
from lorakit.report.curves import Line, charts
from lorakit.report.gallery import Samples, ShownSubset, Thumbnail
from lorakit.report.page import code, details, element, soft, table
from lorakit.report.pictures import Picture
from lorakit.report.series import Numbers, Point, smoothed
from lorakit.runs.record import Judged, Record, SavedCheckpoint, StageSummary
from lorakit.show import size

# How the sources begin of what the recipe does not say itself.
INHERITED = ("preset ", "family ", "plan: ")
# Worth a line each; the others are listed together.
PACKAGES = (
    "torch",
    "torchvision",
    "accelerate",
    "diffusers",
    "transformers",
    "peft",
    "safetensors",
    "bitsandbytes",
    "xformers",
    "prodigyopt",
    "lion-pytorch",
    "numpy",
    "pillow",
)


def outcome(advice: Sequence[Advice]) -> str:
    items = "".join(
        element(
            "li",
            escape(one.text) + (f" {code(one.command)}" if one.command else ""),
            class_=one.severity,
        )
        for one in advice
    )
    return element("ul", items, class_="advice") if items else "<p>Nothing to say yet.</p>"


def stages(found: Sequence[StageSummary], page: str) -> str:
    """Each with a link to the page in its own folder."""
    rows = [
        (
            element("a", escape(one.name), href=quote(f"{one.folder}/{page}")),
            escape(one.state),
            f"{one.first_step + 1} to {one.first_step + (one.step or one.total)}",
            "" if one.loss is None else f"{one.loss:.4g}",
        )
        for one in found
    ]
    return table(("stage", "state", "steps", "loss"), rows, numbers=("loss",))


def curves(numbers: Numbers, record: Record) -> str:
    if not numbers.loss.points:
        return "<p>No step has been made yet.</p>"
    total, cuts = record.steps.total, resumed_from(record)
    saved = [one.step for one in record.checkpoints if one.step is not None]
    smooth = smoothed(numbers.loss.points)
    lines = [
        Line("every step", numbers.loss.points, "raw"),
        Line("mean over a twentieth of the run", smooth, "smooth"),
    ]
    if numbers.validation.points:
        lines.append(Line("validation", numbers.validation.points, "validation", dots=True))
    label = f"loss {_ends(smooth)}"
    body = f"<h3>Loss</h3>{key(lines)}"
    body += charts(lines, "loss", label, last_step=total, marks=saved, cuts=cuts)
    rates = [
        Line(series.name, series.points, f"rate{place}" if place < 3 else "raw")
        for place, series in enumerate(numbers.rates)
    ]
    if rates:
        label = f"learning rate {_ends(rates[0].points)}"
        body += f"<h3>Learning rate</h3>{key(rates) if len(rates) > 1 else ''}"
        body += charts(rates, "learning rate", label, last_step=total, cuts=cuts)
    return body


def resumed_from(record: Record) -> list[int]:
    return [part.from_step for part in record.parts if part.from_step is not None]


def samples(found: Samples) -> str:
    if not found.shown:
        return "<p>None were drawn. [sample] prompts in the recipe asks for some.</p>"
    figures = dict.fromkeys(found.steps, "")
    for one in found.shown:
        words = found.words(one.prompt)
        figures[one.step] += figure(one.picture, one.name, words, escape(words))
    body = by_step(figures)
    if found.left_out:
        body += soft(
            f"These are an even choice; {counted(found.left_out, 'picture')} more in the run's"
            " sample folder."
        )
    return body


def by_step(figures: Mapping[int, str], kind: str = "grid") -> str:
    """One step's figures below the other's; page.js shows the slider and one step at a time."""
    steps = [
        f'<div class="step" data-name="step {step}"><h3>step {step}</h3>'
        f'<div class="{kind}">{inside}</div></div>'
        for step, inside in figures.items()
    ]
    last = len(steps) - 1
    return (
        '<div class="controls" hidden><label for="step">Step</label><input type="range" id="step"'
        f' min="0" max="{last}" value="{last}"><output id="shown" for="step"></output>'
        '<label><input type="checkbox" id="all"> all steps</label></div>'
    ) + "".join(steps)


def checkpoints(record: Record, run_dir: Path) -> str:
    if not record.checkpoints:
        return "<p>None was saved.</p>"
    rows = sorted(record.checkpoints, key=lambda one: (one.step or 0, one.path))
    body = table(
        ("file", "step", "kind", "size", "sha256"),
        [_checkpoint(one, run_dir) for one in rows],
        numbers=("step", "size"),
    )
    states = sorted({one.step for one in record.states if not one.fault})
    return body + (
        soft(f"Complete states at step {', '.join(map(str, states))}.") if states else ""
    )


def judged(found: Judged) -> str:
    """The cells worth looking at first, as the judge put them."""
    rows = []
    for cell in found.cells:
        numbers = (cell.held, cell.behind, cell.drift)
        shown = ["" if number is None else f"{number:+.3f}" for number in numbers]
        rows.append((escape(cell.label), f"{cell.strength:g}", escape(cell.verdict), *shown))
    columns = ("checkpoint", "strength", "verdict", "held-out loss", "behind", "drift")
    said = "".join(f"<p>{escape(text)}</p>" for text in (found.reason, *found.notes) if text)
    body = table(columns, rows, numbers=("strength", *columns[3:]))
    words = f"Logarithms of ratios to the base's, of {found.held_out} held-out pictures."
    return said + body + soft(words)


def dataset(subsets: Sequence[ShownSubset], record: Record) -> str:
    digest = record.dataset.digest
    body = f"<p>{counted(record.dataset.images, 'image')}; {escape(record.steps.formula)}.</p>"
    body += (
        element("p", f"digest {escape(digest)}", class_="hash")
        if digest
        else soft("The digest is not computed yet.")
    )
    total = sum(one.images for one in subsets)
    missing = total - sum(len(one.shown) for one in subsets)
    if missing:
        body += soft(
            f"Shown: {total - missing} of {counted(total, 'image')}, an even choice that keeps this"
            " page small."
        )
    return body + "".join(map(_subset, subsets))


def settings(record: Record) -> str:
    """What the recipe itself says stands out; what a preset or a family brings is plain."""
    body = "<p>In bold what this recipe says itself; the rest comes from its preset.</p>"
    for name, section in record.settings.items():
        rows = sorted(section.items())
        own = [not one.source.startswith(INHERITED) for _, one in rows]
        cells = [(code(key), code(_value(one.value)), escape(one.source)) for key, one in rows]
        if rows:
            columns = ("key", "value", "source")
            body += f"<h3>[{escape(name)}]</h3>" + table(columns, cells, own=own, kind="settings")
    return body


def origins(record: Record) -> str:
    trainer, ran_on, packages = record.trainer, record.platform, record.trainer.packages
    rows = [
        ("recipe", _near(record.recipe, record)),
        ("notes", record.notes),
        *_subject(record),
        ("lorakit", record.lorakit),
        ("trainer", " ".join(word for word in (trainer.name, trainer.commit) if word)),
        ("machine", ", ".join(filter(None, (ran_on.system, ran_on.arch, ran_on.python)))),
        ("GPUs", ", ".join(ran_on.gpus) or "none"),
    ]
    for one in record.weights:
        digest = one.sha256 or "not computed"
        rows.append((f"weights: {one.key}", f"{_near(one.path, record)}  sha256 {digest}"))
    rows += [(name, packages[name]) for name in PACKAGES if name in packages]
    cells = [(escape(name), escape(text)) for name, text in rows if text]
    body = table(("what", "which"), cells)
    others = [f"{name} {version}" for name, version in packages.items() if name not in PACKAGES]
    if others:
        title = f"{len(packages)} packages in the trainer's environment"
        body += details(title, f"<p>{escape(', '.join(others))}</p>")
    command = shlex.join(record.command).replace(f"{record.root}/", "")
    return body + details("The command", f"<pre>{escape(command)}</pre>")


def _subject(record: Record) -> list[tuple[str, str]]:
    said, consent = record.subject, record.subject.consent
    person = "a real person" if said.real_person else ""
    return [
        ("subject", ", ".join(filter(None, (said.kind, person)))),
        ("pictures from", said.source),
        ("their licence", said.licence),
        ("consent", f"{consent.by}, {consent.date}: {consent.scope}" if consent else ""),
        *said.more.items(),
    ]


def _checkpoint(one: SavedCheckpoint, run_dir: Path) -> tuple[str, ...]:
    name = code(Path(one.path).name) + (f" {_remark(one.stage)}" if one.stage else "")
    fault = one.fault or ("holds NaN or infinity" if one.finite is False else "")
    if fault:
        name += f" {_remark(fault, 'fault')}"
    elif not (run_dir / one.path).exists():
        name += f" {_remark('removed again' if one.removed else 'no longer there')}"
    return (
        name,
        "" if one.step is None else str(one.step),
        escape(one.kind),
        "" if one.size_bytes is None else size(one.size_bytes),
        _remark(one.sha256 or "", "hash"),
    )


def _remark(text: str, kind: str = "soft") -> str:
    return element("span", escape(text), class_=kind)


def _subset(subset: ShownSubset) -> str:
    body = ""
    for bucket, group in groupby(subset.shown, key=lambda one: one.bucket):
        ones = list(group)
        name = f"bucket {' × '.join(map(str, bucket))}" if bucket else "no bucket"
        body += f"<h4>{name}, {counted(len(ones), 'image')}</h4>"
        body += element("div", "".join(map(_thumbnail, ones)), class_="grid small")
    title = f"{subset.name}: {counted(subset.images, 'image')}, {counted(subset.repeats, 'repeat')}"
    return details(title, body, is_open=True, kind="subset")


def _thumbnail(one: Thumbnail) -> str:
    caption = element(
        "span", escape(one.caption or "no caption"), class_="caption", title=one.caption or ""
    )
    under = f"<b>{escape(one.name)}</b>{escape(one.size)}{caption}"
    return figure(one.picture, one.name, one.caption or one.name, under)


def figure(picture: Picture, name: str, words: str, under: str) -> str:
    """`words` describe the picture; `under` is HTML."""
    if picture.fault:
        shown = f'<div class="none">{escape(name)}: {escape(picture.fault)}</div>'
    else:
        size = f'width="{picture.width}" height="{picture.height}"'
        shown = f'<img src="{picture.url}" alt="{escape(words)}" {size} decoding="async">'
    return f"<figure>{shown}<figcaption>{under}</figcaption></figure>"


def key(lines: Sequence[Line]) -> str:
    items = "".join(
        '<li><svg viewBox="0 0 26 10" aria-hidden="true">'
        f'<path class="line {line.kind}" d="M1 5H25"/></svg>{escape(line.name)}</li>'
        for line in lines
    )
    return f'<ul class="key">{items}</ul>'


def _ends(points: Sequence[Point]) -> str:
    (first, start), (last, end) = points[0], points[-1]
    return f"from {start:.4g} at step {first} to {end:.4g} at step {last}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "\n".join(map(_value, value))
    return str(value)


def _near(path: str, record: Record) -> str:
    """From the project's folder, where it is inside."""
    return path.removeprefix(f"{record.root}/")
