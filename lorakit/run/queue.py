"""Recipes that wait for their turn: one JSON file in .lorakit/, changed only under a lock."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorakit.errors import LorakitError, RecipeError
from lorakit.files import below, write_atomic
from lorakit.journal import now
from lorakit.private import is_private_set
from lorakit.processes import Identity
from lorakit.typed_json import Part
from lorakit.user_files import Missing, Unreadable

SCHEMA = 1


@dataclass(frozen=True)
class Waiting(Part):
    """`state`: waiting, running, done, failed, not started, interrupted, stopped."""

    number: int
    recipe: str  # relative to the project where that is possible: projects move
    sets: tuple[str, ...] = ()
    unsets: tuple[str, ...] = ()
    state: str = "waiting"
    added: str = ""
    run: str = ""  # the run folder, once there is one
    worker: Identity | None = None

    @property
    def is_running(self) -> bool:
        return self.state == "running" and self.worker is not None and self.worker.alive


@dataclass(frozen=True)
class Queue(Part):
    schema: int
    queue: tuple[Waiting, ...]


def add(
    root: Path,
    recipe: Path,
    *,
    sets: Sequence[str] = (),
    unsets: Sequence[str] = (),
    once: bool = False,
) -> Waiting:
    """At the end of the queue. The recipe is read when its turn comes, not now. `once`: a recipe
    that waits or runs already is not added again, whoever put it there; its place is given back.
    """
    _require_no_secrets(sets)
    name = below(recipe.absolute(), root.absolute())
    with _changing(root) as items:
        for item in items if once else ():
            if item.recipe == name and item.state in {"waiting", "running"}:
                return item
        number = max((item.number for item in items), default=0) + 1
        items.append(Waiting(number, name, tuple(sets), tuple(unsets), added=now()))
        return items[-1]


def _require_no_secrets(sets: Sequence[str]) -> None:
    """The queue is a file: it keeps no value of an environment, no token and no password."""
    for key in (text.partition("=")[0].strip() for text in sets if is_private_set(text)):
        name = key.rpartition(".")[2]
        raise RecipeError(
            f"--set {key}: the queue is a file, and this value belongs in none; nothing was"
            " queued.",
            hint=f"Set {name} in the environment of `lorakit queue run`: the training inherits it.",
        )


def remove(root: Path, numbers: Sequence[int]) -> list[Waiting]:
    """Take them out; what runs just now must be stopped first."""
    with _changing(root) as items:
        known = {item.number: item for item in items}
        for number in numbers:
            if number not in known:
                what = f"The queue has no number {number}."
                raise LorakitError(what, hint="lorakit queue list shows the numbers.")
            if known[number].is_running:
                raise LorakitError(f"Number {number} is running.", hint="lorakit stop ends it.")
        gone = [known[number] for number in numbers]
        items[:] = [item for item in items if item not in gone]
        return gone


def move(root: Path, number: int, *, before: int = 0) -> list[Waiting]:
    """Give a waiting recipe the turn before another, or the next one; what waits, in order."""
    with _changing(root) as items:
        waiting = {item.number: item for item in items if item.state == "waiting"}
        for asked in filter(None, (number, before)):
            if asked not in waiting:
                what = f"Number {asked} does not wait in the queue."
                raise LorakitError(what, hint="lorakit queue list shows what does.")
        if number != before:
            items.remove(waiting[number])
            first = next((item for item in items if item.state == "waiting"), None)
            ahead = waiting[before] if before else first
            items.insert(items.index(ahead) if ahead else len(items), waiting[number])
        return [item for item in items if item.state == "waiting"]


def clear_ended(root: Path) -> int:
    """Forget what has ended; the runs themselves stay."""
    with _changing(root) as items:
        count = len(items)
        items[:] = [item for item in items if item.state == "waiting" or item.is_running]
        return count - len(items)


def take(root: Path) -> Waiting | None:
    """The next one, now ours: waiting, or left running by a worker that has ended."""
    with _changing(root) as items:
        for index, item in enumerate(items):
            if item.state == "waiting" or (item.state == "running" and not item.is_running):
                items[index] = replace(item, state="running", worker=Identity.of(os.getpid()))
                return items[index]
    return None


def change(root: Path, number: int, **changes: Any) -> None:
    with _changing(root) as items:
        items[:] = [replace(item, **changes) if item.number == number else item for item in items]


def work(
    root: Path, do: Callable[[Waiting], tuple[str, str]], *, go_on: Callable[[], bool]
) -> None:
    """Take one after another until the queue is empty; `do` gives back state and run folder."""
    while go_on() and (item := take(root)) is not None:
        state, run = "failed", ""
        try:
            state, run = do(item)
        finally:
            change(root, item.number, state=state, run=run, worker=None)


def path_of(root: Path) -> Path:
    return root / ".lorakit" / "queue.json"


def listed(root: Path) -> list[Waiting]:
    path = path_of(root)
    try:
        found = Queue.read(path)
    except Missing:
        return []
    except Unreadable as error:
        raise LorakitError(str(error), hint="Deleting it empties the queue.") from None
    if found.schema > SCHEMA:
        raise LorakitError(f"{path} was written by a newer lorakit.")
    return list(found.queue)


@contextmanager
def _changing(root: Path) -> Iterator[list[Waiting]]:
    """Read, change, write, alone."""
    from filelock import FileLock

    path = path_of(root)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(path.with_suffix(".lock")))
        except OSError as error:
            raise LorakitError(f"{path.parent}: {error.strerror}") from error
        items = listed(root)
        yield items
        write_atomic(path, Queue(SCHEMA, tuple(items)).as_text(), private=True)
