"""A folder that appears complete or not at all."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lorakit.errors import RecipeError
from lorakit.files import MAX_NAME_CHARS, hidden_prefix, sweep

TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A hidden folder, which becomes `target` at the end: a free name then and now."""
    if os.path.lexists(target):
        raise _taken(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent.glob(f".{glob.escape(target.name[:MAX_NAME_CHARS])}.*"))
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=hidden_prefix(target)))
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
