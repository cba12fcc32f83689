"""Each part of the page as HTML: outcome, curves, samples, checkpoints, dataset, settings,
origins.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lorakit.errors import counted
from lorakit.report.advice import Advice
from lorakit.report.curves import Line, chart
from lorakit.report.gallery import Samples, Subset, Thumbnail
from lorakit.report.page import details, element, table
from lorakit.report.pictures import Picture
from lorakit.report.series import Numbers, smoothed
from lorakit.show import size

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
SHAPES = (("wide", 1100, 320), ("narrow", 380, 260))


def outcome(advice: Sequence[Advice]) -> str:
    items = "".join(
        element(
            "li",
            escape(one.text) + (f" <code>{escape(one.command)}</code>" if one.command else ""),
            class_=one.severity,
        )
        for one in advice
    )
    return f'<ul class="advice">{items}</ul>' if items else "<p>Nothing to say yet.</p>"


def stages(entries: Sequence[Mapping[str, Any]]) -> str:
    """Each with a link to the page that lies in its own folder."""
    rows = []
    for entry in entries:
        place = quote(f"{entry.get('folder')}/report.html")
        first = int(entry.get("first_step") or 0)
        loss = entry.get("loss")
        rows.append(
            (
                f'<a href="{place}">{escape(str(entry.get("name")))}</a>',
                escape(str(entry.get("state"))),
                f"{first + 1} to {first + int(entry.get('step') or entry.get('total') or 0)}",
                f"{loss:.4g}" if isinstance(loss, float) else "",
            )
        )
    return table(("stage", "state", "steps", "loss"), rows, numbers=("loss",))


def curves(numbers: Numbers, record: Mapping[str, Any]) -> str:
    if not numbers.loss.points:
        return "<p>No step has been made yet.</p>"
    total = int(record["steps"].get("total") or 0)
    saved = [entry["step"] for entry in record["checkpoints"] if isinstance(entry.get("step"), int)]
    cuts = [part["from_step"] for part in record["parts"] if isinstance(part.get("from_step"), int)]
    smooth = smoothed(numbers.loss.points)
    lines = [
        Line("every step", numbers.loss.points, "raw"),
        Line("mean over a twentieth of the run", smooth, "smooth"),
    ]
    if numbers.validation.points:
        lines.append(Line("validation", numbers.validation.points, "validation", dots=True))
    body = (
        "<h3>Loss</h3>"
        + key(lines)
        + charts(lines, "loss", f"loss {_told(smooth)}", total, saved, cuts=cuts)
    )
    rates = [
        Line(series.name, series.points, f"rate{place}" if place < 3 else "raw")
        for place, series in enumerate(numbers.rates)
    ]
    if rates:
        body += "<h3>Learning rate</h3>" + (key(rates) if len(rates) > 1 else "")
        body += charts(
            rates, "learning rate", f"learning rate {_told(rates[0].points)}", total, (), cuts=cuts
        )
    return body


def samples(found: Samples) -> str:
    if not found.shown:
        return "<p>None were drawn. [sample] prompts in the recipe asks for some.</p>"
    parts = [controls(len(found.steps))]
    for step in found.steps:
        figures = "".join(
            f"<figure>{image(one.picture, one.name, words)}<figcaption>{escape(words)}</figcaption></figure>"
            for one in found.shown
            if one.step == step
            for words in [
                (
                    found.prompts[one.prompt]
                    if one.prompt < len(found.prompts)
                    else f"prompt {one.prompt}"
                )
            ]
        )
        parts.append(step_of_samples(step, figures))
    if found.left_out:
        parts.append(
            f'<p class="soft">{found.left_out} more pictures lie in the run\'s sample folder; these'
            " are an even choice.</p>"
        )
    return "".join(parts)


def controls(count: int) -> str:
    """The slider over so many steps; page.js shows it."""
    return (
        '<div class="controls" hidden><label for="step">Step</label><input type="range" id="step"'
        f' min="0" max="{count - 1}" value="{count - 1}"><output id="told"'
        ' for="step"></output><label><input type="checkbox" id="all"> all steps</label></div>'
    )


def step_of_samples(step: int, figures: str, kind: str = "grid") -> str:
    return (
        f'<div class="step" data-told="step {step}"><h3>step {step}</h3><div'
        f' class="{kind}">{figures}</div></div>'
    )


def checkpoints(record: Mapping[str, Any], run_dir: Path) -> str:
    if not record["checkpoints"]:
        return "<p>None was saved.</p>"
    rows = sorted(
        record["checkpoints"],
        key=lambda entry: (int(entry.get("step") or 0), str(entry.get("path"))),
    )
    body = table(
        ("file", "step", "kind", "size", "sha256"),
        [_checkpoint(entry, run_dir) for entry in rows],
        numbers=("step", "size"),
    )
    whole = sorted(
        {int(entry.get("step") or 0) for entry in record["states"] if not entry.get("fault")}
    )
    return body + (
        f'<p class="soft">Whole states of step {", ".join(map(str, whole))}.</p>' if whole else ""
    )


def dataset(subsets: Sequence[Subset], record: Mapping[str, Any]) -> str:
    facts = record["dataset"]
    digest = facts.get("digest")
    head = (
        f"<p>{facts.get('images', 0)} images;"
        f" {escape(str(record['steps'].get('formula', '')))}.</p>"
    )
    head += (
        f'<p class="hash">digest {escape(str(digest))}</p>'
        if digest
        else '<p class="soft">The digest is not computed yet.</p>'
    )
    shown, total = sum(len(one.shown) for one in subsets), sum(one.images for one in subsets)
    if shown < total:
        head += (
            f'<p class="soft">{total - shown} of {total} images are left out to keep this page'
            " small; here is an even choice.</p>"
        )
    return head + "".join(_subset(one) for one in subsets)


def settings(record: Mapping[str, Any]) -> str:
    """The recipe's own words stand out; what a preset or a family brings is plain."""
    body = "<p>In bold what this recipe says itself; the rest comes from its preset.</p>"
    for name, entries in record["settings"].items():
        rows = [
            (key, entry)
            for key, entry in sorted(dict(entries or {}).items())
            if isinstance(entry, Mapping)
        ]
        if rows:
            own = [
                not str(entry.get("source", "")).startswith(("preset ", "family ", "plan"))
                for _, entry in rows
            ]
            cells = [
                (
                    f"<code>{escape(key)}</code>",
                    f"<code>{escape(_value(entry.get('value')))}</code>",
                    escape(str(entry.get("source", ""))),
                )
                for key, entry in rows
            ]
            body += f"<h3>[{escape(name)}]</h3>" + table(
                ("key", "value", "source"), cells, own=own, kind="settings"
            )
    return body


def origins(record: Mapping[str, Any]) -> str:
    trainer, platform = record["trainer"], record.get("platform")
    platform = platform if isinstance(platform, Mapping) else {}
    packages = trainer.get("packages")
    packages = packages if isinstance(packages, Mapping) else {}
    rows = [
        ("recipe", _near(record["recipe"], record)),
        ("lorakit", record.get("lorakit")),
        (
            "trainer",
            " ".join(str(word) for word in (trainer.get("name"), trainer.get("commit")) if word),
        ),
        (
            "machine",
            ", ".join(
                str(platform[key]) for key in ("system", "arch", "python") if platform.get(key)
            ),
        ),
        ("GPUs", ", ".join(map(str, platform.get("gpus") or ())) or "none"),
        *(
            (
                f"weights: {entry.get('key')}",
                (
                    f"{_near(entry.get('path'), record)}  sha256"
                    f" {entry.get('sha256') or 'not computed'}"
                ),
            )
            for entry in record["weights"]
        ),
        *((name, packages[name]) for name in PACKAGES if name in packages),
    ]
    body = table(
        ("what", "which"), [(escape(name), escape(str(text))) for name, text in rows if text]
    )
    others = ", ".join(
        f"{name} {version}" for name, version in packages.items() if name not in PACKAGES
    )
    body += (
        details(
            f"{len(packages)} packages in the trainer's environment", f"<p>{escape(others)}</p>"
        )
        if others
        else ""
    )
    command = shlex.join(str(word) for word in record["command"]).replace(
        f"{record.get('root')}/", ""
    )
    return body + details("The command", f"<pre>{escape(command)}</pre>")


def _checkpoint(entry: Mapping[str, Any], run_dir: Path) -> tuple[str, ...]:
    path = str(entry.get("path"))
    remark = entry.get("fault") or ("holds NaN or infinity" if entry.get("finite") is False else "")
    gone = (
        ""
        if remark or (run_dir / path).exists()
        else "removed again"
        if entry.get("removed")
        else "not there any more"
    )
    stage = (
        f' <span class="soft">{escape(str(entry["stage"]))}</span>' if entry.get("stage") else ""
    )
    name = f"<code>{escape(Path(path).name)}</code>{stage}"
    name += (
        f' <span class="fault">{escape(str(remark))}</span>'
        if remark
        else f' <span class="soft">{gone}</span>'
        if gone
        else ""
    )
    count = entry.get("size_bytes")
    step = entry.get("step")
    return (
        name,
        "" if step is None else escape(str(step)),
        escape(str(entry.get("kind") or "")),
        size(count) if isinstance(count, (int, float)) else "",
        f'<span class="hash">{escape(str(entry.get("sha256") or ""))}</span>',
    )


def _subset(subset: Subset) -> str:
    groups: dict[str, list[Thumbnail]] = {}
    for one in subset.shown:
        groups.setdefault(one.bucket, []).append(one)
    body = ""
    for bucket, ones in groups.items():
        figures = "".join(
            f"<figure>{image(one.picture, one.name, one.caption or one.name)}<figcaption><b>{escape(one.name)}</b>{escape(one.size)}"
            '<span class="caption"'
            f' title="{escape(one.caption or "")}">{escape(one.caption or "no caption")}</span></figcaption></figure>'
            for one in ones
        )
        body += (
            f"<h4>bucket {escape(bucket)}, {len(ones)} images</h4>" if bucket else ""
        ) + f'<div class="grid small">{figures}</div>'
    title = f"{subset.name}: {counted(subset.images, 'image')}, {counted(subset.repeats, 'repeat')}"
    return details(title, body, is_open=True, kind="subset")


def image(picture: Picture, name: str, words: str) -> str:
    if picture.fault:
        return f'<div class="none">{escape(name)}: {escape(picture.fault)}</div>'
    size_words = f'width="{picture.width}" height="{picture.height}"'
    return f'<img src="{picture.url}" alt="{escape(words)}" {size_words} decoding="async">'


def charts(
    lines: Sequence[Line],
    unit: str,
    label: str,
    total: int,
    marks: Sequence[int],
    *,
    cuts: Sequence[int] = (),
    ident: str = "",
) -> str:
    """Twice, for a wide screen and for a phone: a picture that is only scaled has letters nobody
    can read.
    """
    drawn = [
        chart(
            lines,
            label=label,
            unit=unit,
            ident=f"{(ident or unit).replace(' ', '-')}-{shape}",
            width=width,
            height=height,
            last_step=total,
            marks=marks,
            cuts=cuts,
        ).replace('class="chart"', f'class="chart {shape}"', 1)
        for shape, width, height in SHAPES
    ]
    return "".join(drawn)


def key(lines: Sequence[Line]) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 26 10" aria-hidden="true"><path class="line {line.kind}" d="M1'
        f' 5H25"/></svg>{escape(line.name)}</li>'
        for line in lines
    )
    return f'<ul class="key">{items}</ul>'


def _told(points: Sequence[tuple[int, float]]) -> str:
    (first, start), (last, end) = points[0], points[-1]
    return f"from {start:.4g} at step {first} to {end:.4g} at step {last}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "\n".join(_value(one) for one in value)
    return str(value)


def _near(path: Any, record: Mapping[str, Any]) -> str:
    """From the project's folder, where it lies in it."""
    return str(path or "").removeprefix(f"{record.get('root')}/")
