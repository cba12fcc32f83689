"""The training itself: epochs, steps, saves, samples, validations, and a clean end."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lorakit.catalogue.file_names import CheckpointName
from lorakit.embedded.data.batches import Batch, epoch_batches, share
from lorakit.embedded.drawing import sampling as samples
from lorakit.embedded.network import checkpoints, metadata
from lorakit.embedded.training import signals, state, step
from lorakit.embedded.training.objective import validate
from lorakit.embedded.training.report import Trackers, rate_tags
from lorakit.embedded.training.session import Session
from lorakit.embedded.training.world import emit
from lorakit.errors import TrainingFailed
from lorakit.trainers.embedded import EXIT_NAN


class Stop(Exception):  # noqa: N818 - not an error: the training ends before its last step
    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


class Loop:
    def __init__(self, session: Session) -> None:
        self.s = session
        self.args, self.world, self.at = session.args, session.world, session.position
        self.name = CheckpointName(session.args.output_name)
        self.folder = Path(session.args.output_dir)
        self.steps = step.Stepper(session)
        self.under_way: step.Taken | None = None
        self.trackers = Trackers(session.args, session.world)
        # steps:  33%|███▎      | 5/15 [01:12<02:25, 14.55s/it, avr_loss=1.09] on standard error
        self.bar: Any = tqdm(
            total=session.args.max_train_steps,
            initial=self.at.step,
            smoothing=0,
            disable=not session.world.is_main,
            desc="steps",
        )
        workers = min(self.args.max_data_loader_n_workers or 0, 4)
        self.reader = None if session.latents.cached or workers < 1 else ThreadPoolExecutor(workers)

    def run(self) -> int:
        """The exit code. Whatever ends the training, the files on disk are intact."""
        signals.listen(together=self.world.size > 1)
        code, reason = 0, "done"
        try:
            if self.at.step == 0 and samples.due(self.s, step=0, epoch=None):
                self._sample(epoch=0)
            emit("phase", phase="training")
            for epoch in range(self.at.epoch, self.s.epochs):
                self.world.say(f"\nepoch {epoch + 1}/{self.s.epochs}\n")
                self._epoch(epoch)
            self._finish()
        except step.NotFiniteError as error:
            self._report_not_finite(error)
            code, reason = EXIT_NAN, "nan"
        except Stop as stop:
            code, reason = stop.code, stop.reason
            if reason == "early_stop":
                self._finish()
        except TrainingFailed:
            emit("end", reason="nan", step=self.at.step)
            raise
        finally:
            self.bar.close()
            self.trackers.close()
            if self.reader is not None:
                self.reader.shutdown(cancel_futures=True)
        emit("end", reason=reason, step=self.at.step)
        return code

    # -- epochs and steps --

    def _epoch(self, epoch: int) -> None:
        at, args, world = self.at, self.args, self.world
        at.epoch = epoch
        batches = epoch_batches(self.s.datasets, self.s.seed, epoch + 1)
        mine = share(batches, world.rank, world.size)
        pixels = self._read_ahead(mine, at.batch)
        while at.batch < len(mine) and at.step < args.max_train_steps:
            group = mine[at.batch : at.batch + args.gradient_accumulation_steps]
            taken = self.steps.take(group, pixels)
            self._settle()
            self.under_way = taken
            if not self.reads_late():
                self._settle()
            self._after_step()
        self._settle()
        self._after_epoch(epoch + 1)
        at.batch = 0
        at.epoch = epoch + 1

    def reads_late(self) -> bool:
        """Where the device works by itself, a step is read while the next is computed."""
        return self.world.device.type != "cpu"

    def _settle(self) -> None:
        """The step that was under way is read and told: before anything is saved or measured."""
        taken, self.under_way = self.under_way, None
        if taken is None:
            return
        losses, norms = taken.read()
        for place, value in enumerate(losses, taken.first):
            self.at.note(taken.epoch, place, value)
        self.bar.update(1)
        self._note(taken, sum(losses) / len(losses), norms)

    def _note(self, taken: step.Taken, loss: float, norms: tuple[int, float, float]) -> None:
        """`loss`: the mean of the step's batches."""
        average, rates, at = self.at.average, taken.rates, taken.step
        notes: dict[str, Any] = {"avr_loss": average}
        values = {"loss/current": loss, "loss/average": average}
        if self.args.scale_weight_norms:
            notes = {"Keys Scaled": norms[0], "Average key norm": norms[1], **notes}
            names = ("max_norm/keys_scaled", "norm/avg_key_norm", "max_norm/max_key_norm")
            values |= dict(zip(names, norms, strict=True))
        self.bar.set_postfix(**notes)
        values |= rate_tags(rates, taken.adapted)
        self.trackers.log(values, x=at, step=at, epoch=taken.epoch + 1)
        rate = rates.get("unet", next(iter(rates.values())))
        emit("step", step=at, epoch=taken.epoch + 1, loss=loss, average=average, lr=rate)

    def _after_step(self) -> None:
        at, args = self.at, self.args
        if samples.due(self.s, step=at.step, epoch=None):
            self._sample(epoch=None)
        if args.validate_every_n_steps and at.step % args.validate_every_n_steps == 0:
            self._validate("step")  # before a state is saved, so that the state knows its result
        if args.save_every_n_steps and at.step % args.save_every_n_steps == 0:
            self._save_and_remove("step", at.step)
        code = self.world.highest(signals.caught())
        if code and at.step < args.max_train_steps:
            self._settle()
            name = self.name.at_step(at.step)
            self._save(name, "interrupted", epoch=at.epoch)
            self._save_state(name)
            resume = f"resume with --resume {self.folder / str(name.as_state())}"
            self.world.say(f"\nstopped after step {at.step}; {resume}")
            raise Stop(signals.REASONS[code], code)

    def _after_epoch(self, epoch: int) -> None:
        at, args = self.at, self.args
        if args.validate_every_n_epochs is None or epoch % args.validate_every_n_epochs == 0:
            self._validate("epoch", x=epoch)
        average = {"loss/epoch_average": self.at.average}
        self.trackers.log(average, x=epoch, step=at.step, epoch=epoch)
        every = args.save_every_n_epochs
        if every and epoch % every == 0 and epoch < self.s.epochs:
            self._save_and_remove("epoch", epoch)
        if samples.due(self.s, step=at.step, epoch=epoch):
            self._sample(epoch=epoch)

    def _finish(self) -> None:
        if self.args.save_state or self.args.save_state_on_train_end:
            self._save_state(self.name)
        done = self.at.step >= self.args.max_train_steps
        self._save(self.name, "final", epoch=self.s.epochs if done else self.at.epoch + 1)
        self.world.say("model saved.")

    # -- samples, validations, saves --

    @contextlib.contextmanager
    def _as_saved(self) -> Iterator[None]:
        """The weights that are saved, sampled and validated; training goes on with its own."""
        average = self.s.average
        self._settle()
        self.s.network.train(on=False)
        with average.in_place() if average is not None else self.s.optimizer.weights_to_use():
            yield
        self.s.network.train(on=True)

    def _sample(self, *, epoch: int | None) -> None:
        with self._as_saved():
            samples.draw_all(self.s, self.trackers, step=self.at.step, epoch=epoch)

    def _validate(self, kind: str, x: int | None = None) -> None:
        at = self.at
        assert at.watch is not None
        # a step and an epoch end together: the same weights, measured once
        self._settle()
        again = at.watch.last_step == at.step
        loss: float | None = at.watch.last
        if not again:
            with self._as_saved():
                loss = validate(self.s, self.s.objective, step=at.step)
        if loss is None:
            return
        tag, beyond = f"loss/validation/{kind}", loss - self.at.average
        values = {f"{tag}_average": loss, f"{tag}_divergence": beyond}
        self.trackers.log(values, x=at.step if x is None else x, step=at.step, epoch=at.epoch + 1)
        if again:
            return
        emit("validation", step=at.step, epoch=at.epoch + 1, loss=loss)
        watch = at.watch = at.watch.after(loss, at.step)
        if watch.improved and self.args.save_best:
            name = replace(self.name, best=True)
            self._save(name, "best", epoch=at.epoch + 1)
            emit("best", step=at.step, loss=loss, path=str(self.folder / str(name)))
        if watch.should_stop:
            best = f"the best was {watch.best:.4g} after step {watch.best_step}"
            self.world.say(f"\nno gain in {watch.without_gain} validations; {best}")
            raise Stop("early_stop", 0)

    def _save_and_remove(self, kind: str, now: int) -> None:
        """Every n epochs or steps, with a state where states are asked for; old ones go."""
        args, of_epoch = self.args, kind == "epoch"
        name_of = self.name.at_epoch if of_epoch else self.name.at_step
        every = getattr(args, f"save_every_n_{kind}s")
        last = getattr(args, f"save_last_n_{kind}s")
        self._save(name_of(now), kind, epoch=now if of_epoch else self.at.epoch)
        old = checkpoints.to_remove(kind, now, every, last)
        if old and self.world.is_main:
            checkpoints.remove(self.folder / str(name_of(old)), self.world)
        if not args.save_state:
            return
        self._save_state(name_of(now), epoch_done=of_epoch)
        last = getattr(args, f"save_last_n_{kind}s_state") or last
        old = checkpoints.to_remove(kind, now, every, last)
        if old and self.world.first_here:
            checkpoints.remove(self.folder / str(name_of(old).as_state()), self.world)

    def _save(self, name: CheckpointName, kind: str, *, epoch: int) -> None:
        path, s, at = self.folder / str(name), self.s, self.at
        if not self.world.is_main:
            return
        self.world.say(f"\nsaving checkpoint: {path}")
        with self._as_saved():
            weights = s.network.state_dict()
        known = {**s.known, **s.hashes.result()}
        facts = metadata.of_checkpoint(s, known, step=at.step, epoch=epoch)
        checkpoints.write(path, weights, facts, self.args.save_precision)
        emit("saved", path=str(path), step=at.step, kind=kind)

    def _save_state(self, name: CheckpointName, *, epoch_done: bool = False) -> None:
        """On every machine: all hold the same, and each goes on from its own disk."""
        if not self.world.first_here:
            return
        self._settle()
        folder, at = self.folder / str(name.as_state()), self.at
        position = replace(at, epoch=at.epoch + 1, batch=0) if epoch_done else at
        self.world.say(f"\nsaving state: {folder}")
        state.save(folder, position, self.s, self.s.identity)
        emit("saved", path=str(folder), step=at.step, kind="state")

    def _report_not_finite(self, error: step.NotFiniteError) -> None:
        number, half = error.step, self.world.precision == "fp16"
        self.at.step = number - 1
        emit("nan", step=number, files=error.files)
        other = 'bf16 or mixed_precision = "no", no_half_vae'
        saved = any(self.folder.glob("*.safetensors"))
        kept = "the last checkpoint is good" if saved else "nothing had been saved before"
        lines = (
            f"\nstep {number}: {error.what} is not a finite number. Nothing more is written;"
            f" {kept}.",
            f"  images: {', '.join(error.files)}",
            f"  what helps most often: {other if half else 'a lower learning rate'},"
            " max_grad_norm = 1.0, or leaving these images out.",
        )
        print("\n".join(lines), flush=True)

    def _read_ahead(self, batches: list[Batch], start: int) -> Iterator[Future[Any] | None]:
        """Images are read and scaled while the step before is trained."""
        if self.reader is None:
            while True:
                yield None
        waiting: list[Future[Any]] = []
        for batch in batches[start:]:
            waiting.append(self.reader.submit(self.s.latents.pixels_of, batch, self.s.seed))
            if len(waiting) > 2:
                yield waiting.pop(0)
        yield from waiting
