"""The watch over one running child: follow, write down, warn, obey requests to stop. Decides when
to stop; judges nothing afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from lorakit.events import Event, Teller
from lorakit.machine import free_disk
from lorakit.run.child import Child, Ladder, Patience, Signals
from lorakit.run.resume.kohya_parts import is_extra, true_name
from lorakit.run.watch.follow import Follower, Positions
from lorakit.run.watch.hashing import Bookkeeper
from lorakit.runs.record import Record
from lorakit.runs.shape import Shape
from lorakit.runs.states import fault_of
from lorakit.weights.safetensors import HeaderError, read_header

GLANCE_S = 0.1  # between two looks at the log
ORPHAN_S = 3.0  # what workers get to end by themselves after the launcher is gone
GIVE_UP_S = 60.0  # after the first kill: a process stuck in the kernel cannot be waited for
STOP_REQUEST = "stop.json"
_SAMPLE = re.compile(r"_(e?)(\d{6})_(\d{2})_\d{14}")


class Supervision:
    """State of one watch. `stopped` says on whose account the ladder was started: signal, request,
    nan, complete, orphan.
    """

    def __init__(
        self,
        child: Child,
        record: Record,
        books: Bookkeeper,
        *,
        output_dir: Path,
        offset: int = 0,
        bar_offset: int = 0,
        stop_after: int = 0,
        patience: Patience,
        past_nan: bool,
        at: Positions = (0, 0),
        write_after: int = 0,
    ) -> None:
        self.child = child
        self.record = record
        self.books = books
        self.output_dir = output_dir
        self.offset = offset
        self.stopped = ""
        self.asked_by: int | None = None
        self.gave_up = False
        total = int(record.data["steps"].get("total") or 0)
        epochs = record.data["steps"].get("epochs")
        self.follower = Follower(
            record.run_dir,
            total=total,
            epochs=epochs,
            offset=bar_offset,
            at=at,
            write_after=write_after,
        )
        self._ladder = Ladder(child, patience)
        self._stop_after = stop_after
        self._past_nan = past_nan
        self._embedded = record.data["trainer"].get("name") == "embedded"
        self._pending: list[tuple[Path, Event]] = []
        self._known: set[str] = {
            str(entry.get("path"))
            for key in ("checkpoints", "samples")
            for entry in record.data[key]
        }
        self._after_checkpoint = False
        self._leader_gone_at: float | None = None
        self._slow_at = 0.0
        self._disk_at = 0.0
        self._trouble = ""

    def watch(self, signals: Signals, tell: Teller, started: float) -> None:
        while True:
            ended = (
                self.child.leader_ended
            )  # asked before reading: what it said last is then in the log
            self._handle(self.follower.poll(time.monotonic() - started), tell)
            self._obey(signals, tell)
            self._ladder.poll()
            self._now_and_then(tell)
            if ended and self._all_ended(tell):
                break
            time.sleep(GLANCE_S if not ended else GLANCE_S / 2)
        self._handle(self.follower.finish(time.monotonic() - started), tell)
        self._look_at_files(tell)

    def stop(self, why: str) -> None:
        if not self._ladder.started:
            self.stopped = why
            self._ladder.start()

    def _handle(self, events: list[Event], tell: Teller) -> None:
        for event in events:
            if event.kind in {"saving", "saved", "best"} and event.path:
                twice = (
                    self._embedded and event.kind == "saving"
                )  # its own event tells of the same file
                if not twice and event.path.endswith(
                    ".safetensors"
                ):  # a state is a folder, looked for at the end
                    self._pending.append((self._absolute(event.path), event))
                if event.kind == "saving":
                    continue
            elif event.kind == "sample" and event.path:
                self._sample(self._absolute(event.path), event.step, tell)
                continue
            elif event.kind == "removed" and event.path:
                self._removed(Path(event.path))
            elif event.kind == "warning":
                self._warned(event)
            if event.kind not in {"saved", "best"}:  # told once the file is whole
                tell(event)
        if self.follower.nan_steps >= 2 and not self._past_nan and not self._ladder.started:
            text = (
                "the loss is NaN: a NaN LoRA is worthless, so the run ends here (--past-nan"
                " goes on)"
            )
            tell(Event("note", self.follower.step, text=text))
            self.stop("nan")

    def _obey(self, signals: Signals, tell: Teller) -> None:
        if signals.seen and self.asked_by is None:
            self.asked_by = signals.seen[0]
            if not self._ladder.started:
                tell(
                    Event(
                        "note",
                        self.follower.step,
                        text="stopping: the trainer is asked to end"
                        + (
                            " and to save"
                            if self._embedded
                            else "; sd-scripts saves nothing on the way out"
                        )
                        + ". Once more ends it at once.",
                    )
                )
            self.stop("signal")
        if signals.hurried and self._ladder.sent.count(9) == 0:
            self._ladder.kill()

    def _now_and_then(self, tell: Teller) -> None:
        now = time.monotonic()
        if now < self._slow_at and not self._pending:
            return
        self._slow_at = now + 0.5
        self._look_at_files(tell)
        self._stop_request(tell)
        if self.record.trouble and self.record.trouble != self._trouble:
            self._trouble = self.record.trouble
            tell(Event("warning", text=self._trouble, rule="record"))
        if now >= self._disk_at:
            self._disk_at = now + 10
            estimate = self.record.data.get("estimate", {})
            needed = int(estimate.get("lora_bytes") or 0) + (
                int(estimate.get("state_bytes") or 0) if self._saves_states() else 0
            )
            with contextlib.suppress(OSError):
                self._handle(
                    self.follower.disk(free_disk(self.record.run_dir), int(1.2 * needed)), tell
                )

    def _look_at_files(self, tell: Teller) -> None:
        changed = False
        for path, event in list(self._pending):
            if self._whole(path):
                self._pending.remove((path, event))
                changed |= self._checkpoint(path, event, tell)
        folder = self.output_dir / "sample"
        if folder.is_dir():
            for path in sorted(folder.glob("*.png")):
                self._sample(path, None, tell)
        for part, entry in self.books.take():
            changed = True
            self.booked(part, entry)
        if changed:
            self.record.save()

    def _checkpoint(self, path: Path, event: Event, tell: Teller) -> bool:
        counted = read_header(path).steps
        step = event.step if counted is None else counted + self.offset
        entry: dict[str, Any] = {
            "path": self.name(path),
            "step": step,
            "epoch": event.epoch,
            "kind": "best" if event.kind == "best" else kind_of(path.name),
        }
        self.record.data["checkpoints"] = [
            old for old in self.record.data["checkpoints"] if old.get("path") != entry["path"]
        ] + [entry]
        self.books.checkpoint(self.record.run_dir, entry)
        tell(
            Event(
                "saved",
                step,
                epoch=event.epoch,
                path=str(path),
                text=true_name(path.name, self.offset) if self.offset else None,
            )
        )
        if self._after_checkpoint and not self._will_be_dropped(path):
            self.stop("request")
        if self._stop_after and step is not None and step >= self._stop_after:
            self.stop("complete")
        return True

    def _will_be_dropped(self, path: Path) -> bool:
        """A resumed script saves more often than planned, and `gather` keeps what was planned."""
        part = self.record.data["parts"][-1] if self.record.data["parts"] else {}
        return bool(part) and is_extra(
            path.name,
            self.offset,
            Shape.of(self.record.data).save_every,
            int(part.get("save_phase") or 0),
        )

    def _whole(self, path: Path) -> bool:
        try:
            read_header(path)
        except HeaderError:
            return False
        state = path.with_name(f"{path.stem}-state")
        return not (self._after_checkpoint and self._saves_states() and fault_of(state))

    def _sample(self, path: Path, step: int | None, tell: Teller) -> None:
        name = self.name(path)
        if name in self._known:
            return
        self._known.add(name)
        entry: dict[str, Any] = {"path": name, "step": step}
        if match := _SAMPLE.search(path.name):
            number, per_epoch = int(match[2]), int(self.record.data["steps"].get("per_epoch") or 0)
            entry |= (
                {"epoch": number, "step": number * per_epoch}
                if match[1]
                else {"step": number + self.offset}
            )
            entry["prompt"] = int(match[3])
        self.record.data["samples"].append(entry)
        self.record.save()
        tell(Event("sample", entry["step"], path=str(path)))

    def _removed(self, path: Path) -> None:
        for entry in self.record.data["checkpoints"]:
            if entry.get("path") == self.name(path):
                entry["removed"] = True
        self._pending = [(pending, event) for pending, event in self._pending if pending != path]

    def _warned(self, event: Event) -> None:
        self.record.data["warnings"].append(
            {"step": event.step, "rule": event.rule, "text": event.text}
        )
        self.record.save()

    def booked(self, part: str, entry: dict[str, Any]) -> None:
        data = self.record.data
        if part == "dataset":
            data["dataset"] |= entry
        elif part == "weights":
            data["weights"] = [
                entry if old.get("key") == entry["key"] else old for old in data["weights"]
            ]
        else:
            data["checkpoints"] = [
                old | entry if old.get("path") == entry["path"] else old
                for old in data["checkpoints"]
            ]

    def _stop_request(self, tell: Teller) -> None:
        path = self.record.run_dir / STOP_REQUEST
        try:
            mode = json.loads(path.read_text(encoding="utf-8")).get("mode")
            path.unlink()
        except (OSError, ValueError, AttributeError):
            return
        if mode == "now":
            tell(Event("note", self.follower.step, text="asked to stop at once"))
            self.stopped = self.stopped or "request"
            if self._embedded:
                self._ladder.kill()
            else:
                self._ladder.start()
        elif self._embedded:
            tell(
                Event("note", self.follower.step, text="asked to stop: the trainer saves and ends")
            )
            self.stop("request")
        else:
            tell(
                Event(
                    "note",
                    self.follower.step,
                    text="asked to stop: the run ends after the next saved checkpoint",
                )
            )
            self._after_checkpoint = True

    def _all_ended(self, tell: Teller) -> bool:
        """The leader is gone; are its children? A launcher that was killed leaves a trainer
        behind.
        """
        now = time.monotonic()
        self._leader_gone_at = self._leader_gone_at or now
        if not self.child.anyone_left():
            return True
        if not self._ladder.started and now - self._leader_gone_at > ORPHAN_S:
            tell(
                Event(
                    "note",
                    self.follower.step,
                    text="the launcher is gone but its trainer still runs: ending it",
                )
            )
            self.stop("orphan")
        self.gave_up = 9 in self._ladder.sent and now - self._leader_gone_at > GIVE_UP_S
        return self.gave_up

    def _saves_states(self) -> bool:
        setting = self.record.data["settings"].get("train", {}).get("save_state")
        return bool(isinstance(setting, dict) and setting.get("value"))

    def _absolute(self, path: str) -> Path:
        return Path(os.path.normpath(Path(str(self.record.data.get("cwd", "."))) / path))

    def name(self, path: Path) -> str:
        return (
            path.relative_to(self.record.run_dir).as_posix()
            if path.is_relative_to(self.record.run_dir)
            else str(path)
        )


def kind_of(name: str) -> str:
    """epoch, step or final, from kohya's way of naming files."""
    stem = name.removesuffix(".safetensors")
    if re.search(r"-step\d{8}$", stem):
        return "step"
    return "epoch" if re.search(r"-\d{6}$", stem) else "final"
