"""The catalogue of the checkout that is configured, where that is not the pin: read once out of its
source, and remembered by its commit.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.config import CHECKOUTS, cache_dir, user_setting
from lorakit.errors import SetupError
from lorakit.files import at_home, write_atomic
from lorakit.user_files import Unreadable

VENDOR = Path(__file__).resolve().parents[2] / "vendor"
FORMAT = 2  # of what is remembered


def named_checkout(trainer: str) -> tuple[Path, str]:
    """Where it is or would be, and who says so; nobody for the one in vendor/."""
    setting, folder = CHECKOUTS[trainer]
    named = user_setting(setting)
    return (at_home(Path(named[0])).absolute(), named[1]) if named else (VENDOR / folder, "")


def own_catalogue(trainer: str, pin: str) -> dict[str, Any] | None:
    """None where the checkout is at the pin, or nothing is known of it: then the pin's holds."""
    try:
        checkout, _ = named_checkout(trainer)
    except SetupError:  # reported where the trainer is looked for
        return None
    commit = head_commit(checkout)
    if commit is None or commit == pin:
        return None
    place = cache_dir() / "catalogues" / f"{trainer}-{commit}-{FORMAT}.json"
    with suppress(Unreadable):
        found: dict[str, Any] = json_text.read(place)
        return found
    from lorakit.catalogue.parsers import READERS

    try:
        found = READERS[trainer](checkout, commit)
    except Exception:  # noqa: BLE001  (whatever the source of others holds; that it is not the pin is said)
        return None
    with suppress(OSError):
        write_atomic(place, json.dumps(found))
    return found


def head_commit(directory: Path) -> str | None:
    """Read from .git itself; works for plain repositories, worktrees and submodules."""
    git = directory / ".git"
    try:
        if git.is_file():
            git = (directory / _line(git).removeprefix("gitdir:").strip()).resolve()
        head = _line(git / "HEAD")
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        shared = git / "commondir"
        common = (git / _line(shared)).resolve() if shared.is_file() else git
        if (common / name).is_file():
            return _line(common / name)
        packed = map(str.split, _line(common / "packed-refs").splitlines())
        return next((words[0] for words in packed if words[1:] == [name]), None)
    except OSError:
        return None


def _line(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip()
