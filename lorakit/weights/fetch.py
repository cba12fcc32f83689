"""Weights that a recipe names by hf:, brought to where the plan expects them, and hashes that a
recipe states, checked.

Bytes go into a part file beside the target, named by the hub's tag for the content; it is moved
into place when it is complete and its hash is right. Whatever ends a fetch leaves the part file,
and the next one goes on from there. Nothing else is ever fetched.
"""

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lorakit import files
from lorakit.errors import RecipeError, SetupError
from lorakit.events import Emit, Event
from lorakit.machine import free_disk
from lorakit.private import without_user
from lorakit.show import size
from lorakit.weights import hub
from lorakit.weights.hashes import files_of, path_digest, remember, sha256_of_all
from lorakit.weights.reference import Reference, WeightFile

RESERVE = 500_000_000


def missing(weights: Sequence[WeightFile]) -> tuple[WeightFile, ...]:
    return tuple(weight for weight in weights if weight.reference and not weight.present)


def fetch_missing(weights: Sequence[WeightFile], emit: Emit, *, every_s: float = 0.5) -> None:
    """One after another; what and how big is reported before the first byte."""

    def note(text: str) -> None:
        emit(Event("note", text=text))

    for weight, asked in [(one, hub.reference(one.reference)) for one in missing(weights)]:
        remote = hub.look(asked)
        big = size(remote.size) if remote.size else "of unknown size"
        source = f"{remote.cached.parent.parent}" if remote.cached else without_user(hub.endpoint())
        note(f"fetching {asked.text} ({big}) from {source} to {weight.path}")
        progress = _reporting(emit, weight.path, every_s)
        try:
            digest = fetch(asked, weight.path, remote, sha256=weight.sha256, progress=progress)
        except KeyboardInterrupt:
            kept = f"what was fetched of {weight.path.name} is kept"
            note(f"stopped; {kept}, and the same command goes on from there")
            raise
        commit = f", commit {remote.commit}" if remote.commit else ""
        note(f"fetched {weight.path}, sha256 {digest}{commit}")


def fetch(
    asked: Reference,
    target: Path,
    remote: hub.Remote,
    *,
    sha256: str = "",
    progress: hub.Progress = lambda *_: None,
) -> str:
    """One file, complete and right, and its sha256; or an error, and never half a file."""
    stated = sha256.lower()
    if stated and remote.sha256 and stated != remote.sha256:
        raise RecipeError(
            f"{asked.text} has sha256 {remote.sha256}, the recipe says {stated}; nothing was"
            " fetched.",
            hint="Has the file behind the name changed? A revision that is a commit never does.",
        )
    part = part_path(target, remote)
    with _disk_explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target), _disk_explained(target):
        _make_room(asked, target, part, remote)
        if remote.cached:
            _take(remote.cached, part)
        else:
            hub.download(asked, remote, part, progress)
        digest = files.sha256(part)
        for expected, by in ((remote.sha256, "the hub"), (stated, "the recipe")):
            if expected and expected != digest:
                part.unlink()
                raise RecipeError(
                    f"{asked.text}: what came has sha256 {digest}, {by} says {expected}; it was"
                    " thrown away.",
                    hint="The same command fetches it again."
                    if by == "the hub"
                    else "Is it the file that the recipe was written for?",
                )
        os.replace(part, target)
    remember(target, digest)
    return digest


def check_hashes(weights: Sequence[WeightFile], emit: Emit) -> None:
    """Every sha256 that the recipe states, against the bytes that would be trained on."""
    for weight in weights:
        stated = weight.sha256.lower()
        if not stated or not weight.present:
            continue
        emit(Event("note", text=f"checking the sha256 of {weight.path}"))
        sha256_of_all(files_of(weight.path), anew=True)
        found, _ = path_digest(weight.path)
        if found != stated:
            raise RecipeError(
                f"{weight.path} has sha256 {found}, the recipe says {stated}; nothing was started.",
                hint="Is it the file that the recipe was written for?",
            )


def part_path(target: Path, remote: hub.Remote) -> Path:
    tag = re.sub(r"\W", "", remote.etag)[:16] or "untagged"
    return target.with_name(f".{target.name}.{tag}.part")


def _take(cached: Path, part: Path) -> None:
    """A hard link where the disk allows it. A symbolic one would not do: kohya's scripts follow it,
    and take a cached file, whose name is its hash, for a pickle.
    """
    part.unlink(missing_ok=True)
    try:
        os.link(cached.resolve(), part)
    except OSError:
        shutil.copyfile(cached, part)


def _make_room(asked: Reference, target: Path, part: Path, remote: hub.Remote) -> None:
    """No parts of an older content, and a disk that has the room."""
    for old in target.parent.glob(f".{target.name}.*.part"):
        if old != part:
            old.unlink()
    there = part.stat().st_size if part.exists() else 0
    free = free_disk(target.parent)
    if not remote.cached and remote.size - there + RESERVE > free:
        raise SetupError(
            f"{asked.text} needs {size(remote.size - there)} in {target.parent}; {size(free)} are"
            " free.",
            hint="Free some, or set XDG_CACHE_HOME to a disk with room.",
        )


@contextmanager
def _disk_explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        hint = "What came is kept; with more room the same command goes on." if full else ""
        raise SetupError(f"{target}: {error.strerror or error}.", hint=hint) from error


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Two that write into one part file would spoil it."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=0):
            yield
    except Timeout:
        what = f"{target} is being fetched by another lorakit."
        raise SetupError(what, hint="Start again once it is there.") from None


def _reporting(emit: Emit, target: Path, every_s: float) -> hub.Progress:
    """Now and then one line: how much of how much, and how fast."""
    began = last = time.monotonic()
    first: int | None = None

    def report(there: int, total: int) -> None:
        nonlocal last, first
        first = there if first is None else first
        now = time.monotonic()
        if now - last < every_s:
            return
        last = now
        of = f"{100 * there // total} % of {size(total)}" if total else size(there)
        rate = f"{size((there - first) / (now - began))}/s"
        text = f"fetching {target.name}: {of}, {rate}"
        emit(Event("phase", text=text, path=str(target)))

    return report
