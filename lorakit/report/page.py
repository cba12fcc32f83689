"""The page's text: template, style and script, filled once. What comes from files is escaped."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
_SLOT = re.compile(r"\{\{(\w+)\}\}")


def page(
    parts: Mapping[str, tuple[str, str]],
    *,
    title: str,
    over: str,
    name: str,
    state: str,
    reason: str,
    facts: Iterable[tuple[str, str]],
    footer: str,
) -> str:
    """Parts are HTML by ident, under a title; all else is escaped here, empty facts left out."""
    return filled(
        "page",
        title=escape(title),
        run=escape(over),
        name=escape(name),
        state=escape(state),
        reason=f"<p>{escape(reason)}</p>" if reason else "",
        facts="".join(
            f"<div><dt>{escape(what)}</dt><dd>{escape(text)}</dd></div>"
            for what, text in facts
            if text
        ),
        contents="".join(
            f'<a href="#{ident}">{escape(head)}</a>' for ident, (head, _) in parts.items()
        ),
        sections="".join(
            f'<section id="{ident}" aria-labelledby="{ident}-title">'
            f'<h2 id="{ident}-title">{escape(head)}</h2>{body}</section>\n'
            for ident, (head, body) in parts.items()
        ),
        footer=escape(f"{footer} Everything is in this file; it asks the network for nothing."),
    )


def filled(template: str, **slots: str) -> str:
    """The template with style and script of its name, and a policy that lets it use nothing else.
    Slots are HTML already, and filled once: braces in them stay as they are.
    """
    style, script = _asset(f"{template}.css"), _asset(f"{template}.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}';"
        f" script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    known = {**slots, "style": style, "script": script, "policy": escape(policy)}
    text = _asset("frame.html").replace("{{body}}", _asset(f"{template}.html"))
    return _SLOT.sub(lambda slot: known[slot[1]], text)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Sequence[str] = (),
    own: Sequence[bool] = (),
    kind: str = "",
) -> str:
    """Cells are HTML. On a phone a row becomes a card, the column's name before each cell."""
    classes = ["number" if name in numbers else None for name in columns]
    head = "".join(
        element("th", escape(name), scope="col", class_=class_)
        for name, class_ in zip(columns, classes, strict=True)
    )
    labels = [None, *columns[1:]]
    body = ""
    for place, row in enumerate(rows):
        cells = "".join(
            element("td", cell, class_=class_, data_label=label if cell else None)
            for cell, class_, label in zip(row, classes, labels, strict=True)
        )
        body += element("tr", cells, class_="own" if own and own[place] else None)
    inside = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return element("table", inside, class_=kind or None)


def details(summary: str, body: str, *, is_open: bool = False, kind: str = "") -> str:
    inside = f"<summary>{escape(summary)}</summary>{body}"
    return element("details", inside, class_=kind or None, open="" if is_open else None)


def code(text: str) -> str:
    return element("code", escape(text))


def soft(text: str) -> str:
    return element("p", escape(text), class_="soft")


def element(name: str, body: str, **attributes: str | None) -> str:
    """`body` is HTML, attributes are texts; None leaves one out. class_ is class, data_x data-x."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"'
        for key, text in attributes.items()
        if text is not None
    )
    return f"<{name}{words}>{body}</{name}>"


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
