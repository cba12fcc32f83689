"""A journal: one JSON object a line, written before the deed, so that a kill leaves no deed
unrecorded; a last line that a kill has cut was never acted on.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.files import write_atomic
from lorakit.user_files import Missing, read_bytes

MOST = 1 << 28
Entry = dict[str, Any]


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


class Journal:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Entry]:
        try:
            text = read_bytes(self.path, most=MOST).decode("utf-8-sig", "replace")
        except Missing:
            return []
        found = []
        for line in text.split("\n"):  # splitlines() would cut inside old captions, at U+2028
            with suppress(ValueError):
                entry = json_text.loads(line)
                if isinstance(entry, dict):
                    found.append(entry)
        return found

    def append(self, entry: Mapping[str, Any]) -> None:
        """Fast, for many entries: safe from a kill, not from a power cut."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                file.write(b"" if file.read(1) == b"\n" else b"\n")  # a kill cut the last line
            file.write(_line(entry).encode())

    def rewrite(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """All of it, on the disk when this returns."""
        write_atomic(self.path, "".join(map(_line, entries)))

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry) + "\n"
