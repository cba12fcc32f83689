"""Writing that never leaves half a file: beside it first, under its owner's mark, then moved into
place. What a killed process has left goes when the next one writes into the same folder.
"""

import errno
import glob
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from lorakit.errors import RecipeError

MAX_NAME_CHARS = 40  # of a file's name in that of its hidden neighbour
MARK = r"\d+-\d+-[0-9a-f]{8}"  # of a temporary file's owner: pid, its start, its machine's start
ABANDONED_S = 86_400.0  # untouched so long, what another machine has left is nobody's
TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}  # a folder's new name
_MARKED = re.compile(rf"(?<![^.-]){MARK}(?![^.-])")


@contextmanager
def into_place(path: Path, *, new: bool = False) -> Iterator[Path]:
    """A hidden neighbour to be filled, which then takes the name, or goes on any error. `new`:
    only where nothing is, else FileExistsError, however close the race.
    """
    beside = hidden_file(path)
    try:
        yield beside
        (take_name if new else os.replace)(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_atomic(
    path: Path, data: str | bytes, *, private: bool = False, new: bool = False
) -> None:
    """The file is the old one or the new one, whatever happens in between; the old one's
    permissions stay. `private`: readable by its owner alone. `new`: only where nothing is.
    """
    try:
        with into_place(path, new=new) as beside:
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
            with beside.open("wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            beside.chmod(0o600 if private else mode)
    except OSError as error:  # of the file that was meant, not of one beside it
        error.filename, error.filename2 = str(path), None
        raise


def write_new(path: Path, data: str | bytes) -> None:
    write_atomic(path, data, new=True)


def write_or_refuse(path: Path, data: str | bytes, hint: str) -> None:
    """As write_new; what is there already is the user's mistake, and `hint` the way out."""
    try:
        write_new(path, data)
    except FileExistsError:
        what = f"{path} is there already, and is left as it is."
        raise RecipeError(what, hint=hint) from None


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A hidden folder, which becomes `target` at the end: a free name, or an empty folder, as
    `lorakit new` makes one, then and now.
    """
    free = not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir()))
    if target.is_symlink() or not free:
        raise _taken(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent.glob(f".{glob.escape(target.name[:MAX_NAME_CHARS])}.*"))
    from tempfile import mkdtemp

    beside = Path(mkdtemp(dir=target.parent, prefix=hidden_prefix(target)))
    try:
        yield beside
        beside.chmod(0o755)
        try:
            os.rename(beside, target)  # replaces nothing that holds anything
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            raise _taken(target) from error
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _taken(target: Path) -> RecipeError:
    hint = "Give the name of a new folder."
    return RecipeError(f"{target} exists already; nothing was overwritten.", hint=hint)


def take_name(beside: Path, path: Path) -> None:
    """Move a file to a name that nothing has yet: else FileExistsError, and the file stays."""
    try:
        os.link(beside, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the name is taken first, then filled
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(beside, path)
    else:
        beside.unlink()


def hidden_prefix(path: Path) -> str:
    """How the name of a temporary neighbour of `path` begins: hidden, and with our mark."""
    return f".{path.name[:MAX_NAME_CHARS]}.{owner_mark()}."


def hidden_file(path: Path) -> Path:
    """An empty file beside `path`, ours until it is moved into place, and nobody else's to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent.absolute())
    from tempfile import mkstemp

    handle, name = mkstemp(dir=path.parent, prefix=hidden_prefix(path), suffix=".tmp")
    os.close(handle)
    return Path(name)


def owner_mark() -> str:
    """This process, as the name of a temporary file says it."""
    pid = os.getpid()
    return f"{pid}-{start_ticks(pid) or 0}-{_machine()}"


def sweep(found: Iterable[Path], *, own: bool = False) -> None:
    """Remove the temporary files and folders among `found` whose owner has ended; with `own` also
    ours. Anything else stays.
    """
    for path in found:
        marks = _MARKED.findall(path.name)  # the file's own name may hold one, too; ours is last
        with suppress(OSError):
            if marks and ((own and marks[-1] == owner_mark()) or _ownerless(path, marks[-1])):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


@cache
def _sweep_once(folder: Path) -> None:
    """Before our first file in a folder, those of the dead."""
    with suppress(OSError), os.scandir(folder) as found:
        sweep(folder / one.name for one in found if one.name[0] == "." and one.name[-4:] == ".tmp")


def _ownerless(path: Path, mark: str) -> bool:
    pid, started, machine = mark.split("-")
    if machine != _machine():
        return time.time() - path.lstat().st_mtime > ABANDONED_S
    now = start_ticks(int(pid))
    if now is None:  # no /proc here, or no such process
        with suppress(ProcessLookupError, OverflowError):
            os.kill(int(pid), 0)
            return False
        return True
    return now != started


def start_ticks(pid: int) -> str | None:
    """In the kernel's ticks; "ended" of a zombie; None where no such process is, or no /proc."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if words[0] in "ZX" else words[19]


@cache
def _machine() -> str:
    """One text for each start of each machine, and each container's own numbering of processes."""
    known = [os.uname().nodename]
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        known = [boot, str(os.stat("/proc/self/ns/pid").st_ino)]
    return hashlib.sha256(" ".join(known).encode()).hexdigest()[:8]


def below(path: Path, root: Path) -> str:
    """The path from `root` on, where it is inside; else the whole of it."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def at_home(path: Path) -> Path:
    """`~` expanded; where there is no home, the path as written, to be reported as missing."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def sha256(path: Path) -> str:
    """Through one buffer that fits the processor's cache: no slower than sha256sum."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 18))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
