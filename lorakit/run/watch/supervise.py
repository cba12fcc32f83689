"""The watch over one running child: follow, write down, warn, stop. Judges nothing afterwards."""

import contextlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from lorakit import json_text
from lorakit.catalogue.file_names import CheckpointName, samples_in
from lorakit.events import Emit, Event
from lorakit.files import below
from lorakit.machine import free_disk
from lorakit.run.child import Child, Ladder, Signals
from lorakit.run.commands import at_work
from lorakit.run.resume.parts import is_extra, sample_drawn, true_name, true_sample
from lorakit.run.watch.follow import Follower
from lorakit.run.watch.hashing import BackgroundHasher
from lorakit.runs.outcome import Before
from lorakit.runs.record import SavedCheckpoint, Warned
from lorakit.runs.states import fault_of
from lorakit.trainers.table import trainer
from lorakit.user_files import Unreadable
from lorakit.weights.safetensors import HeaderError, read_header, steps_of

GLANCE_S = 0.1  # between two looks at the log
ORPHAN_S = 3.0  # what workers get to end by themselves after the launcher has exited
GIVE_UP_S = 60.0  # after the first kill: a process stuck in the kernel cannot be waited for
STOP_REQUEST = "stop.json"


class Supervision:
    """`stopped` says why the ladder was started: signal, request, nan, complete, orphan."""

    def __init__(
        self,
        child: Child,
        hasher: BackgroundHasher,
        signals: Signals,
        emit: Emit,
        *,
        before: Before,
        began_s: float = 0.0,
        write_after: int = 0,
        past_nan: bool = False,
    ) -> None:
        """`before`: what the output held before the launch, which was `began_s` ago."""
        self.child, self.ledger, self.hasher = child, hasher.ledger, hasher
        record, part, run_dir = self.ledger.record, self.ledger.record.part, self.ledger.run_dir
        self.signals, self.emit, self.before = signals, emit, before
        self.output_dir = run_dir / part.output if part.output else record.output_dir(run_dir)
        self.offset = part.offset
        self.stopped = ""
        self.gave_up = False
        self.follower = Follower(run_dir, record, write_after=write_after)
        self._began = time.monotonic() - began_s
        self._trainer = trainer(record.trainer.name)
        self._ladder = Ladder(child, *self._trainer.PATIENCE)
        self._stop_after = part.stop_after
        self._past_nan = past_nan
        self._saves_states = bool(record.value("save_state"))
        self._pending: list[tuple[Path, Event]] = []
        self._known = {one.path for one in record.samples}
        self._after_checkpoint = False
        self._leader_gone_at: float | None = None
        self._slow_at = self._disk_at = 0.0
        self._trouble = ""

    @property
    def duration_s(self) -> float:
        """Since the launch."""
        return time.monotonic() - self._began

    def watch(self) -> None:
        while True:
            ended = self.child.leader_ended  # asked before reading, so that no last word is missed
            self._handle(self.follower.poll(self.duration_s))
            self._obey()
            self._ladder.poll()
            self._now_and_then()
            if ended and self._all_ended():
                break
            time.sleep(GLANCE_S if not ended else GLANCE_S / 2)
        self._handle(self.follower.finish(self.duration_s))
        self._look_at_files()

    def stop(self, why: str) -> None:
        if not self._ladder.started:
            self.stopped = why
            self._ladder.start()

    def name(self, path: Path) -> str:
        return below(path, self.ledger.run_dir)

    def _note(self, text: str) -> None:
        self.emit(Event("note", self.follower.step, text=text))

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            path = self._absolute(event.path) if event.path else None
            if event.kind == "sample" and path:
                self._sample(path, event.step)
                continue
            if event.kind in {"saving", "saved", "best"} and path:
                # `saving` is printed; a trainer with events of its own reports the file there, too.
                # A state is a folder, looked for at the end.
                twice = event.kind == "saving" and self._trainer.event_reader() is not None
                if path.suffix == ".safetensors" and not twice:
                    self._pending.append((path, event))
                if event.kind == "saving":
                    continue
            elif event.kind == "removed" and path:
                self._removed(path)
            elif event.kind == "command":
                self.ledger.update(commands=self.follower.commands)
            elif event.kind == "warning":
                warned = Warned(event.step, event.rule, event.text)
                self.ledger.update(warnings=(*self.ledger.record.warnings, warned))
            if event.kind not in {"saved", "best"}:  # emitted once the file is complete
                self.emit(event)
        if self.follower.alarms.nan_steps >= 2 and not self._past_nan and not self._ladder.started:
            self._note("the loss is NaN: the run ends here (--past-nan goes on)")
            self.stop("nan")

    def _obey(self) -> None:
        if self.signals.seen and not self._ladder.started:
            saves = self._trainer.SAVES_WHEN_INTERRUPTED
            what = " and to save" if saves else f"; {self._trainer.TITLE} saves nothing now"
            self._note(f"stopping: the trainer is asked to end{what}. Once more ends it at once.")
            self.stop("signal")
        if self.signals.hurried and signal.SIGKILL not in self._ladder.sent:
            self._ladder.kill()

    def _now_and_then(self) -> None:
        now = time.monotonic()
        if now < self._slow_at and not self._pending:
            return
        self._slow_at = now + 0.5
        self._look_at_files()
        self._stop_request()
        if self.ledger.trouble and self.ledger.trouble != self._trouble:
            self._trouble = self.ledger.trouble
            self.emit(Event("warning", text=self._trouble, rule="record"))
        if now >= self._disk_at:
            self._disk_at = now + 10
            estimate = self.ledger.record.estimate
            needed = estimate.lora_bytes + (estimate.state_bytes if self._saves_states else 0)
            with contextlib.suppress(OSError):
                free = free_disk(self.ledger.run_dir)
                self._handle(self.follower.alarms.disk(free, int(1.2 * needed)))

    def _look_at_files(self) -> None:
        complete = [(path, event) for path, event in self._pending if self._is_complete(path)]
        for path, event in complete:
            self._pending.remove((path, event))
            self._checkpoint(path, event)
        for path in samples_in(self.output_dir):
            self._sample(path, None)
        if self.hasher.enter() or complete:
            self.ledger.save()

    def _is_complete(self, path: Path) -> bool:
        try:
            read_header(path)
        except HeaderError:
            return False
        if not (self._after_checkpoint and self._saves_states):
            return True
        state = path.with_name(f"{path.stem}-state")
        return not fault_of(state, counted=self._trainer.STATES_COUNT)

    def _checkpoint(self, path: Path, event: Event) -> None:
        record, counted = self.ledger.record, steps_of(path)
        step = event.step if counted is None else counted + self.offset
        kind = "best" if event.kind == "best" else kind_of(path.name)
        saved = SavedCheckpoint(self.name(path), step, event.epoch, kind)
        others = (old for old in record.checkpoints if old.path != saved.path)
        self.ledger.note(checkpoints=(*others, saved))
        self.hasher.checkpoint(saved)
        text = true_name(path.name, record.part) if self.offset else None
        self.emit(Event("saved", step, epoch=event.epoch, path=str(path), text=text))
        # A resumed script saves more often than planned; what was planned is kept in the end.
        if self._after_checkpoint and not (record.parts and is_extra(path.name, record)):
            self.stop("request")
        if self._stop_after and step is not None and step >= self._stop_after:
            self.stop("complete")

    def _sample(self, path: Path, step: int | None) -> None:
        name = self.name(path)
        if name in self._known:
            return
        self._known.add(name)
        record = self.ledger.record
        drawn = sample_drawn(name, true_sample(path.name, record.part), record.steps)
        drawn = replace(drawn, step=step) if drawn.step is None else drawn
        self.ledger.update(samples=(*record.samples, drawn))
        self.emit(Event("sample", drawn.step, path=str(path)))

    def _removed(self, path: Path) -> None:
        self.ledger.record = self.ledger.record.with_checkpoint(self.name(path), removed=True)
        self._pending = [(pending, event) for pending, event in self._pending if pending != path]

    def _stop_request(self) -> None:
        path = self.ledger.run_dir / STOP_REQUEST
        try:
            mode = json_text.read(path).get("mode")
            path.unlink()
        except (OSError, Unreadable, AttributeError):
            return
        saves = self._trainer.SAVES_WHEN_INTERRUPTED
        if mode == "now" or at_work(self.follower.commands):  # before the training: nothing is lost
            self._note("asked to stop at once")
            self.stopped = self.stopped or "request"
            if saves:
                self._ladder.kill()
            else:
                self._ladder.start()
        elif saves:
            self._note("asked to stop: the trainer saves and ends")
            self.stop("request")
        else:
            self._note("asked to stop: the run ends after the next saved checkpoint")
            self._after_checkpoint = True

    def _all_ended(self) -> bool:
        """The leader has exited; have its children? A killed launcher leaves a trainer behind."""
        now = time.monotonic()
        self._leader_gone_at = self._leader_gone_at or now
        if not self.child.anyone_left():
            return True
        if not self._ladder.started and now - self._leader_gone_at > ORPHAN_S:
            self._note("the launcher has exited but its trainer still runs: ending it")
            self.stop("orphan")
        self.gave_up = (
            signal.SIGKILL in self._ladder.sent and now - self._leader_gone_at > GIVE_UP_S
        )
        return self.gave_up

    def _absolute(self, path: str) -> Path:
        return Path(os.path.normpath(Path(self.ledger.record.cwd or ".") / path))


def kind_of(name: str) -> str:
    """epoch, step or final, by the trainers' file names."""
    parsed = CheckpointName.parse(name)
    return parsed.kind if parsed else "final"
