"""The training itself: epochs, steps, saving, sampling, validating, and stopping well."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lorakit.catalogue.file_names import CheckpointName
from lorakit.embedded.data.batches import Batch, Draw, epoch_batches, share
from lorakit.embedded.drawing import sampling as samples
from lorakit.embedded.events import tell
from lorakit.embedded.network import checkpoints, metadata
from lorakit.embedded.training import signals, state
from lorakit.embedded.training.report import Bar, Trackers, Window, rate_tags
from lorakit.embedded.training.session import Session
from lorakit.embedded.training.validation import validate
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
        self.window = Window(self.at.losses)
        self.trackers = Trackers(session.args, session.world)
        self.bar = Bar(session.world, session.args.max_train_steps, self.at.step)
        self.saved: set[str] = set()
        self.norms: dict[str, float] = {}
        workers = min(self.args.max_data_loader_n_workers or 0, 4)
        self.reader = None if session.latents.cached or workers < 1 else ThreadPoolExecutor(workers)

    def run(self) -> int:
        """The exit code. Whatever ends the training, what is on disk is whole."""
        signals.listen(together=self.world.size > 1)
        code, reason = 0, "done"
        try:
            if self.at.step == 0 and samples.due(self.s, step=0, epoch=None):
                self._sample(epoch=0)
            tell("phase", phase="training")
            for epoch in range(self.at.epoch, self.s.epochs):
                self.world.say(f"\nepoch {epoch + 1}/{self.s.epochs}\n")
                self._epoch(epoch)
            self._finish()
        except Stop as stop:
            code, reason = stop.code, stop.reason
            if reason == "early_stop":
                self._finish()
        except TrainingFailed:
            tell("end", reason="nan", step=self.at.step)
            raise
        finally:
            self.bar.close()
            self.trackers.close()
            if self.reader is not None:
                self.reader.shutdown(cancel_futures=True)
        tell("end", reason=reason, step=self.at.step)
        return code

    # -- an epoch, a step
    # -----------------------------------------------------------------------------------------------

    def _epoch(self, epoch: int) -> None:
        at, args = self.at, self.args
        at.epoch = epoch
        mine = share(
            epoch_batches(self.s.datasets, self.s.seed, epoch + 1), self.world.rank, self.world.size
        )
        accumulation = args.gradient_accumulation_steps
        pixels = self._read_ahead(mine, at.batch)
        while at.batch < len(mine) and at.step < args.max_train_steps:
            group = mine[at.batch : at.batch + accumulation]
            self.s.network.zero_grad()
            losses = [self._micro_step(batch, next(pixels), accumulation) for batch in group]
            self._update([draw for batch in group for draw in batch])
            self._after_step(sum(losses) / len(losses))
        self._after_epoch(epoch + 1)
        at.batch = 0
        at.epoch = epoch + 1

    def _micro_step(self, batch: Batch, pixels: Any, accumulation: int) -> float:
        s, at = self.s, self.at
        s.network.train(on=True)
        loss = s.objective.loss(
            batch,
            s.objective.step_seed(at.micro_step),
            step=at.step,
            pixels=pixels.result() if pixels is not None else None,
        )
        value = float(loss.detach())
        if self.world.highest(int(not math.isfinite(value))):
            self._not_finite(batch, "the loss")
        (loss / accumulation * (s.loss_scale.scale if s.loss_scale is not None else 1.0)).backward()
        self.window.add(at.epoch, at.batch, value)
        at.batch += 1
        at.micro_step += 1
        return value

    def _update(self, draws: Sequence[Draw]) -> None:
        """Average, clip, step. A gradient that is not finite never reaches the weights."""
        s, args = self.s, self.args
        gradients = s.network.gradients()
        self.world.average(gradients)
        if s.loss_scale is not None:
            for gradient in gradients:
                gradient.div_(s.loss_scale.scale)
        norm = float(torch.stack([gradient.float().norm() for gradient in gradients]).norm())
        finite = math.isfinite(norm)
        if s.loss_scale is not None:
            s.loss_scale.after(finite=finite)
        if not finite and (s.loss_scale is None or s.loss_scale.is_hopeless):
            self._not_finite(draws, "a gradient")
        if finite:
            if args.max_grad_norm and norm > args.max_grad_norm:
                for gradient in gradients:
                    gradient.mul_(args.max_grad_norm / (norm + 1e-6))
            s.optimizer.step(self.at.step + 1)
        if args.scale_weight_norms:
            scaled, mean, highest = s.network.limit_norms(args.scale_weight_norms)
            self.norms = {
                "max_norm/keys_scaled": scaled,
                "norm/avg_key_norm": mean,
                "max_norm/max_key_norm": highest,
            }
        self.at.step += 1
        if s.average is not None:
            s.average.update(self.at.step)
        self.bar.step()

    def _note(self, loss: float) -> None:
        facts: dict[str, Any] = {"avr_loss": self.window.mean}
        if self.norms:
            facts = {
                "Keys Scaled": self.norms["max_norm/keys_scaled"],
                "Average key norm": self.norms["norm/avg_key_norm"],
                **facts,
            }
        self.bar.note(facts)
        if self.trackers.active:
            rates = rate_tags(self.s.optimizer.learning_rates(), self.s.optimizer.adapted_rates())
            values = {"loss/current": loss, "loss/average": self.window.mean, **self.norms, **rates}
            self.trackers.log(values, x=self.at.step, step=self.at.step, epoch=self.at.epoch + 1)

    def _after_step(self, loss: float) -> None:
        """`loss`: the mean of the step's batches."""
        at, args = self.at, self.args
        self._note(loss)
        rates = self.s.optimizer.learning_rates()
        rate = rates.get("unet", next(iter(rates.values())))
        tell("step", step=at.step, epoch=at.epoch + 1, loss=loss, average=self.window.mean, lr=rate)
        if samples.due(self.s, step=at.step, epoch=None):
            self._sample(epoch=None)
        if args.validate_every_n_steps and at.step % args.validate_every_n_steps == 0:
            self._validate("step")  # before a state is saved, so that the state knows its result
        if args.save_every_n_steps and at.step % args.save_every_n_steps == 0:
            self._save(self.name.at_step(at.step), "step", epoch=at.epoch)
            old = checkpoints.step_to_remove(
                at.step, args.save_every_n_steps, args.save_last_n_steps
            )
            self._remove(file=self.name.at_step(old) if old else None)
            if args.save_state:
                self._save_state(self.name.at_step(at.step))
                old = checkpoints.step_to_remove(
                    at.step,
                    args.save_every_n_steps,
                    args.save_last_n_steps_state or args.save_last_n_steps,
                )
                self._remove(state=self.name.at_step(old) if old else None)
        code = self.world.highest(signals.caught())
        if code and at.step < args.max_train_steps:
            self._save(self.name.at_step(at.step), "interrupted", epoch=at.epoch)
            self._save_state(self.name.at_step(at.step))
            saved = self.folder / str(self.name.at_step(at.step).as_state())
            self.world.say(f"\nstopped after step {at.step}; resume with --resume {saved}")
            raise Stop(signals.REASONS[code], code)

    def _after_epoch(self, epoch: int) -> None:
        args = self.args
        if args.validate_every_n_epochs is None or epoch % args.validate_every_n_epochs == 0:
            self._validate("epoch", x=epoch)
        self.trackers.log(
            {"loss/epoch_average": self.window.mean}, x=epoch, step=self.at.step, epoch=epoch
        )
        if (
            args.save_every_n_epochs
            and epoch % args.save_every_n_epochs == 0
            and epoch < self.s.epochs
        ):
            self._save(self.name.at_epoch(epoch), "epoch", epoch=epoch)
            old = checkpoints.epoch_to_remove(
                epoch, args.save_every_n_epochs, args.save_last_n_epochs
            )
            self._remove(file=self.name.at_epoch(old) if old else None)
            if args.save_state:
                self._save_state(self.name.at_epoch(epoch), epoch_done=True)
                old = checkpoints.epoch_to_remove(
                    epoch,
                    args.save_every_n_epochs,
                    args.save_last_n_epochs_state or args.save_last_n_epochs,
                )
                self._remove(state=self.name.at_epoch(old) if old else None)
        if samples.due(self.s, step=self.at.step, epoch=epoch):
            self._sample(epoch=epoch)

    def _finish(self) -> None:
        if self.args.save_state or self.args.save_state_on_train_end:
            self._save_state(self.name)
        self._save(
            self.name,
            "final",
            epoch=self.s.epochs if self.at.step >= self.args.max_train_steps else self.at.epoch + 1,
        )
        self.world.say("model saved.")

    # -- what a step may bring
    # ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _as_saved(self) -> Iterator[None]:
        """The weights that are saved, sampled and validated; training goes on with its own."""
        self.s.network.train(on=False)
        with (
            self.s.average.in_place()
            if self.s.average is not None
            else self.s.optimizer.weights_to_use()
        ):
            yield
        self.s.network.train(on=True)

    def _sample(self, *, epoch: int | None) -> None:
        with self._as_saved():
            samples.draw_all(self.s, self.trackers, step=self.at.step, epoch=epoch)

    def _validate(self, kind: str, x: int | None = None) -> None:
        at = self.at
        assert at.watch is not None
        again = (
            at.watch.last_step == at.step
        )  # a step and an epoch end together: the same weights, measured once
        loss: float | None = at.watch.last
        if not again:
            with self._as_saved():
                loss = validate(self.s)
        if loss is None:
            return
        tags = {
            f"loss/validation/{kind}_average": loss,
            f"loss/validation/{kind}_divergence": loss - self.window.mean,
        }
        self.trackers.log(tags, x=at.step if x is None else x, step=at.step, epoch=at.epoch + 1)
        if again:
            return
        tell("validation", step=at.step, epoch=at.epoch + 1, loss=loss)
        at.watch = at.watch.after(loss, at.step)
        if at.watch.improved and self.args.save_best:
            best = replace(self.name, best=True)
            self._save(best, "best", epoch=at.epoch + 1)
            tell("best", step=at.step, loss=loss, path=str(self.folder / str(best)))
        if at.watch.should_stop:
            self.world.say(
                f"\nno gain in {at.watch.without_gain} validations; the best was"
                f" {at.watch.best:.4g} after step {at.watch.best_step}"
            )
            raise Stop("early_stop", 0)

    def _save(self, name: CheckpointName, kind: str, *, epoch: int) -> None:
        path = self.folder / str(name)
        if not self.world.is_main:
            return
        self.world.say(f"\nsaving checkpoint: {path}")
        with self._as_saved():
            weights = self.s.network.state_dict()
        said = metadata.of_checkpoint(
            self.s.known,
            self.args,
            self.s.base,
            self.s.datasets,
            step=self.at.step,
            epoch=epoch,
            hashes=self.s.hashes.result(),
        )
        checkpoints.write(path, weights, said, self.args.save_precision)
        tell("saved", path=str(path), step=self.at.step, kind=kind)

    def _save_state(self, name: CheckpointName, *, epoch_done: bool = False) -> None:
        """On every machine: all hold the same weights and optimiser, and each goes on from its own
        disk.
        """
        if not self.world.first_here:
            return
        at = self.at
        position = state.Position(
            at.step,
            at.epoch + 1 if epoch_done else at.epoch,
            0 if epoch_done else at.batch,
            at.micro_step,
            at.losses,
            at.watch,
        )
        folder = self.folder / str(name.as_state())
        self.world.say(f"\nsaving state: {folder}")
        state.save(
            folder,
            position,
            network=self.s.network,
            optimizer=self.s.optimizer,
            average=self.s.average,
            identity=self.s.identity,
            loss_scale=self.s.loss_scale,
        )
        tell("saved", path=str(folder), step=at.step, kind="state")

    def _remove(
        self, *, file: CheckpointName | None = None, state: CheckpointName | None = None
    ) -> None:
        if file and self.world.is_main:
            checkpoints.remove_file(self.folder / str(file), self.world)
        if state and self.world.first_here:
            checkpoints.remove_state(self.folder / str(state.as_state()), self.world)

    def _not_finite(self, draws: Sequence[Draw], what: str) -> None:
        files = list(dict.fromkeys(str(draw.image.path) for draw in draws))
        tell("nan", step=self.at.step + 1, files=files)
        lines = [
            (
                f"\nstep {self.at.step + 1}: {what} is not a finite number. Nothing more is"
                " written; the last checkpoint is good."
            ),
            "  images: " + ", ".join(files),
        ]
        remedy = (
            'bf16 or mixed_precision = "no", no_half_vae'
            if self.world.precision == "fp16"
            else "a lower learning rate"
        )
        lines.append(
            f"  what helps most often: {remedy}, max_grad_norm = 1.0, or these images taken out."
        )
        print("\n".join(lines), flush=True)
        raise Stop("nan", EXIT_NAN)

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
