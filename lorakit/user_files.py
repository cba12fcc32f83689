"""The one way to read a file that is the user's: whatever it is, an answer in words, at once."""

import errno
import os
import stat
from pathlib import Path

from lorakit.errors import Fault, LorakitError

MOST_TEXT = 1 << 22  # of what a person writes by hand


class Unreadable(LorakitError):  # noqa: N818  (reads as what the file is)
    """A file of the user's that cannot be read as what it should be; `why` is a sentence."""

    def __init__(self, path: Path, why: str, hint: str = "") -> None:
        self.path, self.why = path, why
        self.fault = Fault(str(path), why, hint)
        super().__init__(str(self.fault))


class Missing(Unreadable):
    """There is no such file."""


def read_bytes(path: Path, *, most: int = MOST_TEXT) -> bytes:
    """A regular file of at most so many bytes. A pipe is not waited for, a device not opened."""
    try:
        _only_regular(path, os.stat(path).st_mode)
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb", buffering=0) as file:
            status = os.fstat(handle)
            _only_regular(path, status.st_mode)
            data = b"" if status.st_size > most else file.read(status.st_size + 1) or b""
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if max(len(data), status.st_size) > most:
        raise Unreadable(path, f"{_size(status.st_size)}; more than {_size(most)} is not read.")
    return data


def read_text(path: Path, *, most: int = MOST_TEXT) -> str:
    """UTF-8, with or without a byte order mark."""
    data = read_bytes(path, most=most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"byte {error.start} is not UTF-8."
        raise Unreadable(path, what, "Save it as UTF-8.") from error


def _only_regular(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    raise Unreadable(path, f"is a {kinds.get(stat.S_IFMT(mode), 'device')}, not a file.")


def _unreadable(path: Path, error: OSError | ValueError) -> Unreadable:
    if isinstance(error, ValueError):
        return Unreadable(path, "has a NUL in its name.")
    if error.errno == errno.ELOOP:
        return Unreadable(path, "is a link that leads back to itself.")
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        if os.path.islink(path):
            return Unreadable(path, f"points to {os.readlink(path)}, which is not there.")
        return Missing(path, "no such file.")
    return Unreadable(path, f"{error.strerror or error}.")


def _size(count: int) -> str:
    return f"{count:,} bytes" if count < 10**6 else f"{count / 10**6:,.1f} MB"
