"""One TOML file of the user's: the line of every key, and the file with other values or names."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.errors import Fault, RecipeError
from lorakit.toml_text import document_text, key_text, value_text
from lorakit.user_files import Unreadable, read_text

KeyPath = tuple[str, ...]

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
    | (?P<text>\"\"\"(?:\\.|[^\\])*?\"{3,5} | '''.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
    | (?P<mark>[\[\]{}=,.\n])
    | (?P<bare>[^\s\[\]{}=,.\#"']+)""",
    re.VERBOSE | re.DOTALL,
)

_VALUE = re.compile(
    r"""(?P<head>[^=\#]*=\s*)
    (?P<value>"(?:\\.|[^"\\])*"|'[^']*'|\[[^\[\]\#]*\]|[^\s\#"'\[{][^\#]*?)
    (?P<rest>\s*(?:\#.*)?)$""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Document:
    """A parsed file. `label` is what faults call it: 'recipes/maya.toml' or 'preset sdxl'."""

    path: Path
    label: str
    text: str
    data: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def source(self, *path: str) -> str:
        """'recipes/maya.toml:14' for a key that stands there, else for the nearest table."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return f"{self.label}:{self.lines[path[:end]]}"
        return self.label


def read_document(path: Path, label: str) -> Document:
    """The file, or a RecipeError that says the line and column where TOML ends."""
    try:
        text = read_text(path).replace("\r\n", "\n")
    except Unreadable as error:
        fault = replace(error.fault, where=label, rule="toml")
        raise RecipeError(f"{label} cannot be read.", faults=[fault]) from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"{label} is not valid TOML; nothing was read.", faults=[_toml_fault(label, str(error))]
        ) from error
    return Document(path, label, text, data, key_lines(text))


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line of every key and header in valid TOML; arrays of tables count from "0"."""
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, pieces in _statements(text):
        if pieces[0] == "[":
            table = _table(pieces, counts)
            # The first [dataset.subset.X] stands for [dataset.subset] too.
            for end in range(1, len(table) + 1):
                lines.setdefault(table[:end], line)
        else:
            names = tuple(_unquote(piece) for piece in pieces[: pieces.index("=")] if piece != ".")
            for end in range(1, len(names) + 1):
                lines.setdefault((*table, *names[:end]), line)
    return lines


def _table(pieces: Sequence[str], counts: dict[KeyPath, int]) -> KeyPath:
    """The path that a header opens; after the name of an array of tables comes its number."""
    names = [_unquote(piece) for piece in pieces if piece not in "[].,"]
    path: KeyPath = ()
    for name in names[:-1]:
        path = (*path, name)
        if path in counts:
            path = (*path, str(counts[path]))
    path = (*path, names[-1])
    if pieces[1] == "[":
        counts[path] = counts.get(path, -1) + 1
        path = (*path, str(counts[path]))
    return path


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """Headers and `key = value` statements, each with its first line."""
    line, first, depth, pieces = 1, 1, 0, list[str]()
    for match in _TOKEN.finditer(text + "\n"):
        piece = match.group()
        if match.lastgroup == "mark" and piece == "\n" and not depth:
            if pieces:
                yield first, pieces
            pieces = []
        elif match.lastgroup != "comment" and piece != "\n":
            first = first if pieces else line
            pieces.append(piece)
            depth += (piece in "[{") - (piece in "]}") if match.lastgroup == "mark" else 0
        line += piece.count("\n")


def _unquote(piece: str) -> str:
    return piece[1:-1] if piece[0] in "\"'" else piece


def _toml_fault(label: str, message: str) -> Fault:
    at = re.search(r"\(at line (\d+), column (\d+)\)", message)
    what = message.partition(" (at ")[0].rstrip(".") + "."
    hint = (
        'Write backslashes in paths as "/", or quote the path with single quotes.'
        if "escape" in what.lower()
        else ""
    )
    where = f"{label}:{at[1]}:{at[2]}" if at else label
    return Fault(where, what if at else message.rstrip(".") + ".", hint, rule="toml")


def with_values(document: Document, values: Mapping[KeyPath, Any]) -> str:
    """In its own lines, so that comments stay; where those cannot be changed, written anew."""
    wanted = _changed(document.data, values)
    lines = document.text.splitlines()
    for path, value in values.items():
        lines = _assigned(lines, path, value_text(value))
    text = "\n".join(lines) + "\n"
    try:
        right = _spelt(tomllib.loads(text)) == _spelt(wanted)
    except tomllib.TOMLDecodeError:
        right = False
    return text if right else document_text(wanted)


def _assigned(lines: list[str], path: KeyPath, value: str) -> list[str]:
    """With the value in its place, or on a line of its own below its section's header."""
    places = key_lines("\n".join(lines))
    if path in places:
        at = places[path] - 1
        found = _VALUE.match(lines[at])
        changed = f"{found['head']}{value}{found['rest']}" if found else lines[at]
        return [*lines[:at], changed, *lines[at + 1 :]]
    if len(path) == 1:
        at = next((at for at, line in enumerate(lines) if line.strip() and line[0] != "#"), 0)
        return [*lines[:at], f"{path[0]} = {value}", *lines[at:]]
    if path[:-1] in places:
        at = places[path[:-1]]
        return [*lines[:at], f"{path[-1]} = {value}", *lines[at:]]
    return [*lines, "", f"[{'.'.join(path[:-1])}]", f"{path[-1]} = {value}"]


def _changed(data: Mapping[str, Any], values: Mapping[KeyPath, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict(data)
    for (first, *rest), value in values.items():
        inner = found.get(first)
        below = inner if isinstance(inner, Mapping) else {}
        found[first] = _changed(below, {tuple(rest): value}) if rest else value
    return found


def _spelt(data: Mapping[str, Any]) -> str:
    """Equal for equal values of equal types: True is not 1 here."""
    return json.dumps(data, sort_keys=True, default=str)


def with_folders_renamed(file: Path, renamed: Mapping[str, str]) -> tuple[str, str]:
    """The text before and after its [dataset.subset.40_maya] got other names, proven by reading."""
    document = read_document(file, file.name)
    dataset = document.data.get("dataset")
    said = dataset.get("subset") if isinstance(dataset, dict) else None
    names = {old: new for old, new in renamed.items() if isinstance(said, dict) and old in said}
    if not names or not isinstance(said, dict) or not isinstance(dataset, dict):
        return document.text, document.text
    lines = document.text.split("\n")
    # a name in a header or before a sign of equality, bare or quoted
    spelt = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    found = re.compile(rf"(?<![\w-])([\"']?)({spelt})\1(?=\s*[.\]=])")
    inside = False
    for number, line in enumerate(lines):
        if re.match(r"\s*\[", line):
            inside = bool(re.match(r"\s*\[+\s*dataset\b", line))
        if inside or re.match(r"\s*dataset\s*[.=]", line):
            lines[number] = found.sub(lambda match: key_text(names[match[2]]), line)
    meant = {names.get(name, name): table for name, table in said.items()}
    text = "\n".join(lines)
    try:
        sound = tomllib.loads(text) == {**document.data, "dataset": {**dataset, "subset": meant}}
    except tomllib.TOMLDecodeError:
        sound = False
    if not sound:
        where, folders = document.source("dataset", "subset"), " and ".join(names)
        raise RecipeError(
            f"{where} speaks of {folders} in a way that lorakit cannot change; nothing was moved.",
            hint="Rename it there by hand, then add --force.",
        )
    return document.text, text
