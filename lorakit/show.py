"""How results reach the user: tables and JSON on stdout, everything else on stderr; plain text."""

import contextlib
import errno
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from lorakit.errors import Fault, LorakitError
from lorakit.private import without_user, words_shown

# C0 but tab and newline, DEL, C1, and marks that turn the direction of what is read
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def say(*lines: str) -> None:
    """For the user, not data: stderr. A closed terminal hears nothing, and the work goes on."""
    try:
        for line in lines:
            print(harmless(without_user(line)), file=sys.stderr, flush=True)
    except OSError as error:
        if error.errno in {errno.EIO, errno.EPIPE}:
            hush(sys.stderr)


def hush(stream: TextIO) -> None:
    """Nobody reads on. What a bar's thread still leaves there would be exit code 120."""
    with contextlib.suppress(OSError):  # no file is behind it
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_text(*words: object, sep: str = " ", end: str = "\n", flush: bool = False) -> None:
    """As print does it, to stdout; the one door for words that may be somebody else's."""
    print(harmless(without_user(sep.join(map(str, words)))), end=end, flush=flush)


def say_faults(faults: Iterable[Fault]) -> None:
    for fault in faults:
        say(plain(f"{fault.severity}: {fault}"))


def plain(text: str) -> str:
    """One line that commands no terminal: what cannot be printed is spelt out."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def harmless(text: str) -> str:
    """Text that commands no terminal; tabs and line ends stay."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def say_error(error: LorakitError) -> None:
    say_faults(error.faults)
    say(*(line for line in (error.message, error.hint) if line))


def say_bug(error: BaseException, argv: Sequence[str]) -> None:
    """Two lines on the screen; the traceback in a file, ready to paste into a report."""
    import tempfile
    import traceback

    from lorakit import __version__

    text = "".join(traceback.format_exception(error))
    handle, name = tempfile.mkstemp(prefix="lorakit-bug-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"lorakit {__version__}, Python {sys.version}, {sys.platform}\n")
        file.write(f"{shlex.join(['lorakit', *words_shown(argv)])}\n\n{text}")
    say(
        f"lorakit crashed; this is a bug ({type(error).__name__}: {error}).",
        f"Please report it with this file: {name}",
    )


def print_json(data: Any) -> None:
    """One JSON document on stdout; paths as text, bytes of a name that are not UTF-8 escaped."""
    text = without_user(json_shown(data, indent=2))
    print(text.encode("utf-8", "backslashreplace").decode())


def json_shown(data: Any, *, indent: int | None = None) -> str:
    """As it may be shown: JSON itself lets some control characters pass."""
    text = json.dumps(data, indent=indent, ensure_ascii=False, default=_plain)
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()
) -> None:
    """A table on stdout: aligned plain text, the same on a terminal, in a file and in a mail."""
    cells = [[plain(without_user(str(cell))) for cell in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    for row in [list(columns), *cells]:
        padded = (
            c.rjust(w) if name in right else c.ljust(w)
            for c, w, name in zip(row, widths, columns, strict=True)
        )
        print("  ".join(padded).rstrip())


def size(count: float) -> str:
    """Bytes for people: 151 MB, 2.1 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            digits = 0 if unit in {"B", "kB"} or count >= 10 else 1
            return f"{count:.{digits}f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for people: 45 s, 12 min, 3 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "__dataclass_fields__"):
        fields = value.__dataclass_fields__
        return {name: getattr(value, name) for name, one in fields.items() if one.repr}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if hasattr(value, "items"):
        return dict(value.items())
    return str(value)
