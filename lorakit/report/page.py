"""The page's text: template, style and script from this package, filled once. Everything that
comes from files is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
_SLOT = re.compile(r"\{\{(\w+)\}\}")


def fill(slots: Mapping[str, str]) -> str:
    """The template with its slots filled, once: braces inside what is filled in stay as they are.

    The policy lets the page use what is inside it and nothing else: no address, no other script, no
    inline style.
    """
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src"
        f" '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    ours = {"style": style, "script": script, "policy": escape(policy)}
    return _SLOT.sub(lambda slot: {**slots, **ours}[slot[1]], _asset("page.html"))


def section(ident: str, title: str, body: str) -> str:
    return (
        f'<section id="{ident}" aria-labelledby="{ident}-title"><h2'
        f' id="{ident}-title">{escape(title)}</h2>{body}</section>\n'
    )


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Sequence[str] = (),
    own: Sequence[bool] = (),
    kind: str = "",
) -> str:
    """Cells are HTML already. On a phone each row becomes a card, with the columns' names before
    the cells but the first.
    """
    head = "".join(
        element("th", escape(name), scope="col", class_="number" if name in numbers else None)
        for name in columns
    )
    body = []
    for place, row in enumerate(rows):
        cells = "".join(
            element(
                "td",
                cell,
                class_="number" if name in numbers else None,
                data_label=name if index and cell else None,
            )
            for index, (name, cell) in enumerate(zip(columns, row, strict=True))
        )
        body.append(element("tr", cells, class_="own" if own and own[place] else None))
    return element(
        "table",
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>",
        class_=kind or None,
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and texts (escaped here); what is empty is left out."""
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in pairs if text
    )


def details(summary: str, body: str, *, is_open: bool = False, kind: str = "") -> str:
    return element(
        "details",
        f"<summary>{escape(summary)}</summary>{body}",
        class_=kind or None,
        open="" if is_open else None,
    )


def element(name: str, body: str, **attributes: str | None) -> str:
    """`body` is HTML already, attributes are texts and are escaped; one that is None is left out.
    class_ is class, data_x is data-x.
    """
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
