"""The same work over many files on all cores; a worker that dies takes one file along."""

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import wait as wait_for
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

IN_THIS_PROCESS = 24  # below this, starting workers costs more than it saves
BATCH = 32  # files at most that a worker is handed at once


class WorkerDied(RuntimeError):  # noqa: N818  (what happened, as in errors.py)
    """The process that worked on this file was killed, most likely for its memory."""


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count() -> int:
    """One for each, eight at most: beyond that the disk is the limit."""
    return max(1, min(8, cores()))


def spread(
    work: Callable[[Item], Result], items: Sequence[Item]
) -> Generator[tuple[Item, Result | WorkerDied], None, None]:
    """In order. `work` must not raise; it runs in fresh processes."""
    if len(items) < IN_THIS_PROCESS:
        for item in items:
            yield item, work(item)
        return
    done = 0
    while done < len(items):
        try:
            for result in _pooled(work, items[done:], worker_count()):
                yield items[done], result
                done += 1
        except BrokenProcessPool:
            # some one by one, so that the guilty file is known; the others together again
            for item in items[done : done + BATCH]:
                yield item, _alone(work, item)
                done += 1


def _pooled(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    with (
        _no_sigpipe(),
        ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin) as pool,
    ):
        try:
            with _ctrl_c_held_back():
                # of many small files the asking costs most
                batch = min(BATCH, 1 + len(items) // 500)
                results = pool.map(work, items, chunksize=batch)
            yield from results
        except BaseException:
            # waits for what is being worked on: its caller sweeps up afterwards
            pool.shutdown(cancel_futures=True)
            raise


def _alone(work: Callable[[Item], Result], item: Item) -> Result | WorkerDied:
    try:
        return next(_pooled(work, [item], 1))
    except BrokenProcessPool:
        return WorkerDied("the process that opened it was killed (out of memory?)")


@contextmanager
def _no_sigpipe() -> Iterator[None]:
    """Here a closed pipe is a dead worker, not the end of a reader, and must be an error."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """For workers that start: Ctrl-C in their first half second would show a traceback."""
    resource_tracker.ensure_running()  # it sets the mask back when it is started
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _begin() -> None:
    """Ctrl-C is for the parent, which ends its workers; when it is gone, nobody would."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pipe that the parent alone holds open closes with it, on every system."""
    parent = parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
