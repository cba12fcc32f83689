"""What was once found out about a file, while path, size, time of change and inode are the same. A
memory that cannot be read or written costs time, nothing else.
"""

import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.files import write_atomic

Stamp = tuple[int, int, int]
_saving = threading.Lock()


def stamp_of(path: Path) -> Stamp:
    status = path.stat()
    return (status.st_size, status.st_mtime_ns, status.st_ino)


class Memo:
    """Values are whatever JSON holds, except null. Another kind of value takes another place."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._known = json_text.table(place)
        self._stamps: dict[str, Stamp] = {}  # as the files were when they were asked for
        self._new: dict[str, Any] = {}
        self._folders: dict[str, str] = {}  # without links; asked for once, for speed

    def get(self, path: Path) -> Any:
        """What is known of this file as it is now; None where that is nothing."""
        key, stamp = self._key(path), stamp_of(path)
        self._stamps[key] = stamp
        match self._known.get(key):
            case [old, value] if old == list(stamp):
                return value
        return None

    def put(self, path: Path, value: Any) -> None:
        """Filed under the stamp that `get` saw: a file changed since is another file."""
        key = self._key(path)
        entry = [list(self._stamps.get(key) or stamp_of(path)), value]
        self._known[key] = self._new[key] = entry

    def save(self, *, forget_others: bool = False) -> None:
        """Beside what others have saved meanwhile; or only what was asked for in this one."""
        kept = {key: self._known[key] for key in self._stamps if key in self._known}
        if not self._new and not (forget_others and len(kept) < len(self._known)):
            return
        with _saving, suppress(OSError):
            entries = kept if forget_others else {**json_text.table(self.place), **self._new}
            write_atomic(self.place, json.dumps(entries, separators=(",", ":")))
        self._new = {}

    def _key(self, path: Path) -> str:
        folder, name = os.path.split(os.path.abspath(path))
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        place = os.path.join(self._folders[folder], name)
        place = os.path.realpath(place) if os.path.islink(place) else place
        return os.fsencode(place).decode("utf-8", "backslashreplace")
