"""Weights that a recipe names by hf:, brought to where the plan expects them, and hashes that a
recipe states, checked.

Bytes go into a part file beside the target, named by the hub's tag for the content; it is moved
into place when it is whole and its hash is right. Whatever ends a fetch leaves the part file, and
the next one goes on from there. Nothing else is ever fetched.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lorakit.errors import RecipeError, SetupError
from lorakit.events import Event, Teller
from lorakit.machine import free_disk
from lorakit.show import size
from lorakit.weights import hub
from lorakit.weights.hashes import path_digest, remember
from lorakit.weights.reference import WeightFile

BLOCK = 1 << 20
TRIES = 5  # in a row without a single new byte
WAIT_S = 2.0  # before the first of them; doubled each time
RESERVE = 500_000_000

Progress = Callable[[int, int], None]  # bytes there, bytes in all (0: unknown)


@dataclass(frozen=True)
class Fetched:
    path: Path
    sha256: str
    size: int
    commit: str


def missing(weights: Sequence[WeightFile]) -> tuple[WeightFile, ...]:
    return tuple(weight for weight in weights if weight.reference and not weight.present)


def fetch_missing(weights: Sequence[WeightFile], teller: Teller, *, every_s: float = 0.5) -> None:
    """All of them, one after another. What is fetched, and how big it is, is told before the first
    byte.
    """
    wanted = [(weight, hub.reference(weight.reference)) for weight in missing(weights)]
    if wanted and os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        raise SetupError(
            f"{wanted[0][1].text} is not here, and HF_HUB_OFFLINE is set; nothing was started.",
            hint="Unset it, or name a file on this machine.",
        )
    for weight, asked in wanted:
        remote = _looked_at(asked)
        big = size(remote.size) if remote.size else "of unknown size"
        teller(
            Event(
                "note", text=f"fetching {asked.text} ({big}) from {hub.endpoint()} to {weight.path}"
            )
        )
        try:
            fetched = fetch(
                asked,
                weight.path,
                remote,
                sha256=weight.sha256,
                progress=_telling(teller, weight.path, every_s),
            )
        except KeyboardInterrupt:
            teller(
                Event(
                    "note",
                    text=(
                        f"stopped; what was fetched of {weight.path.name} is kept, and the same"
                        " command goes on from there"
                    ),
                )
            )
            raise
        teller(
            Event(
                "note",
                text=f"fetched {fetched.path}, sha256 {fetched.sha256}"
                + (f", commit {fetched.commit}" if fetched.commit else ""),
            )
        )


def fetch(
    asked: hub.Reference,
    target: Path,
    remote: hub.Remote,
    *,
    sha256: str = "",
    progress: Progress = lambda *_: None,
) -> Fetched:
    """One file, whole and right, or an error; never half a file at `target`."""
    part = part_path(target, remote)
    _make_room(asked, target, part, remote)
    with _alone(target), _disk_told(target):
        digest, count = _stream(asked, part, remote, progress)
        for told, by in ((sha256, "the recipe"), (remote.sha256, "the hub")):
            if told and told.lower() != digest:
                part.unlink()
                raise RecipeError(
                    f"{asked.text}: what came has sha256 {digest}, {by} says {told.lower()}; it was"
                    " thrown away.",
                    hint=(
                        "Has the file behind the name changed? A revision that is a commit never"
                        " does."
                        if by == "the recipe"
                        else "The same command fetches it again."
                    ),
                )
        os.replace(part, target)
    remember(target, digest)
    return Fetched(target, digest, count, remote.commit)


def check_hashes(weights: Sequence[WeightFile], teller: Teller) -> None:
    """Every sha256 that the recipe states, against the file that would be trained on."""
    for weight in weights:
        told = weight.sha256
        if not told or not weight.present:
            continue
        teller(Event("note", text=f"checking the sha256 of {weight.path}"))
        found, _ = path_digest(weight.path)
        if found != told.lower():
            raise RecipeError(
                f"{weight.path} has sha256 {found}, the recipe says {told.lower()}; nothing was"
                " started.",
                hint="It is another file than the recipe was written for.",
            )


def part_path(target: Path, remote: hub.Remote) -> Path:
    tag = re.sub(r"\W", "", remote.etag)[:16] or "untagged"
    return target.with_name(f".{target.name}.{tag}.part")


def _looked_at(asked: hub.Reference) -> hub.Remote:
    for wait_s in _waits():
        try:
            return hub.look(asked)
        except hub.Interrupted as error:
            trouble = error
            time.sleep(wait_s)
    raise SetupError(
        f"{asked.text}: {trouble}.",
        hint="Fetch the file by other means and name its path in [model], or try again later.",
    )


def _stream(
    asked: hub.Reference, part: Path, remote: hub.Remote, progress: Progress
) -> tuple[str, int]:
    """Until the file is whole. A broken connection is taken up again, as long as each try brings
    something.
    """
    hasher, there = hashlib.sha256(), 0
    with part.open("r+b" if part.exists() else "w+b", buffering=0) as file:
        while block := file.read(BLOCK):
            hasher.update(block)
            there += len(block)
        if not remote.etag or (
            remote.size and there > remote.size
        ):  # nothing says that these are bytes of the same file
            hasher, there = hashlib.sha256(), _restart(file)
        waits = _waits()
        while not remote.size or there < remote.size:
            before = there
            try:
                answer, start = hub.begin(asked, there)
                if start != there:
                    hasher, there = hashlib.sha256(), _restart(file)
                with answer:
                    while block := answer.read(BLOCK):
                        file.write(block)
                        hasher.update(block)
                        there += len(block)
                        progress(there, remote.size)
                if not remote.size:
                    break
                trouble = "the connection ended early"
            except hub.Interrupted as error:
                trouble = str(error)
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                trouble = f"the connection broke ({error or type(error).__name__})"
            if remote.size and there >= remote.size:
                break
            waits = _waits() if there > before else waits
            wait_s = next(waits, None)
            if wait_s is None:
                raise SetupError(
                    f"{asked.text}: {trouble} at {size(there)}"
                    + (f" of {size(remote.size)}." if remote.size else "."),
                    hint="What came is kept; the same command goes on from there.",
                )
            time.sleep(wait_s)
        os.fsync(file.fileno())
    return hasher.hexdigest(), there


def _restart(file: object) -> int:
    file.seek(0)  # type: ignore[attr-defined]
    file.truncate()  # type: ignore[attr-defined]
    return 0


def _waits() -> Iterator[float]:
    return iter([WAIT_S * 2**count for count in range(TRIES)])


def _make_room(asked: hub.Reference, target: Path, part: Path, remote: hub.Remote) -> None:
    """The folder, without parts of an older content, on a disk that has the room."""
    with _disk_told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        for old in target.parent.glob(f".{target.name}.*.part"):
            if old != part:
                old.unlink()
        there = part.stat().st_size if part.exists() else 0
    free = free_disk(target.parent)
    if remote.size - there + RESERVE > free:
        raise SetupError(
            f"{asked.text} needs {size(remote.size - there)} in {target.parent}; {size(free)} are"
            " free.",
            hint="Free some, or set XDG_CACHE_HOME to a disk with room.",
        )


@contextmanager
def _disk_told(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        raise SetupError(
            f"{target}: {error.strerror or error}.",
            hint="What came is kept; with more room the same command goes on." if full else "",
        ) from error


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Two that write into one part file would spoil it."""
    from filelock import FileLock, Timeout

    with ExitStack() as stack:
        try:
            lock = FileLock(target.with_name(f".{target.name}.lock"), blocking=False)
            stack.enter_context(lock)
        except Timeout:
            raise SetupError(
                f"{target} is being fetched by another lorakit.",
                hint="Start again once it is there.",
            ) from None
        yield


def _telling(teller: Teller, target: Path, every_s: float) -> Progress:
    """Now and then one line: how much of how much, and how fast."""
    began = told = time.monotonic()
    first: int | None = None

    def tell(there: int, total: int) -> None:
        nonlocal told, first
        first = there if first is None else first
        now = time.monotonic()
        if now - told < every_s:
            return
        told = now
        of = f"{100 * there // total} % of {size(total)}" if total else size(there)
        teller(
            Event(
                "phase",
                text=f"fetching {target.name}: {of}, {size((there - first) / (now - began))}/s",
                path=str(target),
            )
        )

    return tell
