"""Steps recorded once and replayed, without a card: a tape of operations stands for the driver. What is replayed is what is launched one by one, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tape import Tape  # noqa: E402
from toy_runs import draw_pictures  # noqa: E402

from lorakit.embedded.training import recorded  # noqa: E402
from lorakit.embedded.training.objective import Objective  # noqa: E402

TWO_SHAPES = {"resolution": "128", "bucket_reso_steps": 32}
BUSY = {
    **TWO_SHAPES,
    "max_train_epochs": 2,
    "gradient_accumulation_steps": 3,  # of eight batches: an epoch's last step is short
    "lr_scheduler": "cosine",
    "lr_warmup_steps": 2,
    "max_grad_norm": 0.05,
    "ema_decay": 0.9,
    "scale_weight_norms": 0.5,
}


@pytest.fixture
def on_tape(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Tape]:
    """From the call on, every training is recorded on the tape that comes back."""
    own = recorded.acts_of

    def switch() -> Tape:
        tape = Tape()
        monkeypatch.setattr(recorded, "acts_of", lambda session: own(session, tape))
        return tape

    return switch


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", pytest.param("sdxl", marks=pytest.mark.long), "flux"])
def test_replayed_steps_end_with_the_bytes_of_steps_launched_one_by_one(
    train: Callable[..., Any], on_tape: Callable[[], Tape], family: str
) -> None:
    plain = train(family, **BUSY)
    tape = on_tape()
    replayed = train(family, **BUSY)
    assert replayed.code == 0, replayed.said
    assert tape.recorded == 3, replayed.said  # two shapes of pictures, and the update
    assert tape.replayed == 16 + 6 - 2 * 3
    assert replayed.said.count("recording the step for latents of ") == 2
    assert [event["loss"] for event in replayed.of("step")] == [
        event["loss"] for event in plain.of("step")
    ]
    assert replayed.digest() == plain.digest()


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {"mixed_precision": "fp16"},
        {"mixed_precision": "bf16", "gradient_checkpointing": True},
        {"network_train_unet_only": False, "mixed_precision": "bf16"},
        {"network_dropout": 0.2, "network_args": ["rank_dropout=0.2", "module_dropout=0.1"]},
        {
            "min_snr_gamma": 5.0,
            "noise_offset": 0.05,
            "loss_type": "huber",
            "cache_latents": False,
            "random_crop": True,
            "alpha_mask": True,
        },
        {"network_module": "lycoris.kohya", "network_args": ["algo=lokr", "rank_dropout=0.2"]},
        {
            "network_module": "lycoris.kohya",
            "network_args": ["algo=loha", "dora_wd=True"],
            "mixed_precision": "bf16",
        },
        {"frozen_linear": "int8", "mixed_precision": "bf16"},
        {"frozen_linear": "nf4", "mixed_precision": "bf16"},
    ],
    ids=str,
)
def test_whatever_a_step_has_is_replayed_alike(
    train: Callable[..., Any], on_tape: Callable[[], Tape], more: dict[str, Any]
) -> None:
    plain = train("sd15", **more)
    tape = on_tape()
    replayed = train("sd15", **more)
    assert tape.replayed >= 10, replayed.said
    assert replayed.digest() == plain.digest()


@pytest.mark.slow
def test_a_replayed_run_resumes_in_the_middle_and_ends_alike(
    train: Callable[..., Any], on_tape: Callable[[], Tape]
) -> None:
    options = {"max_train_epochs": 2, "save_every_n_steps": 5, "save_state": True}
    plain = train(**options)
    on_tape()
    whole = train(**options)
    assert whole.digest() == plain.digest()
    resumed = train(**options, resume=whole.folder / "fox-step00000005-state")
    assert [e["loss"] for e in resumed.of("step")] == [e["loss"] for e in plain.of("step")][5:]
    assert resumed.digest() == whole.digest()


@pytest.mark.slow
def test_the_least_used_recording_goes_where_there_are_too_many(
    train: Callable[..., Any], on_tape: Callable[[], Tape], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "MOST", 2)
    plain = train(max_train_epochs=2, **TWO_SHAPES)
    tape = on_tape()
    replayed = train(max_train_epochs=2, **TWO_SHAPES)
    assert tape.recorded > 3
    assert replayed.digest() == plain.digest()


@pytest.mark.slow
def test_a_shape_that_comes_late_and_seldom_is_launched_as_it_is(
    train: Callable[..., Any], on_tape: Callable[[], Tape], tmp_path: Path
) -> None:
    data = tmp_path / "odd"
    draw_pictures(data / "4_zwx", 2, wide=False)
    draw_pictures(data / "1_zwx", 2)  # one of them is wide
    tape = on_tape()
    outcome = train(data_dir=data, max_train_epochs=1, **TWO_SHAPES)
    assert outcome.code == 0, outcome.said
    assert tape.recorded == 2
    assert "recording the step for latents of 16x16" in outcome.said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"no_cuda_graphs": True}, "no_cuda_graphs is set"),
        ({"optimizer_type": "SGDNesterov"}, "torch.optim.sgd.SGD decides on the host"),
        (
            {"network_dropout": 0.1, "gradient_checkpointing": True},
            "dropout is drawn twice with gradient_checkpointing",
        ),
    ],
)
def test_what_cannot_be_recorded_is_said_by_its_name(
    train: Callable[..., Any], on_tape: Callable[[], Tape], more: dict[str, Any], reason: str
) -> None:
    tape = on_tape()
    outcome = train(max_train_epochs=None, max_train_steps=4, **more)
    assert outcome.code == 0, outcome.said
    assert tape.recorded == 0
    assert f"steps are not recorded as CUDA graphs, which is slower; {reason}" in outcome.said


@pytest.mark.slow
def test_a_recording_that_fails_is_said_and_the_run_goes_on_alike(
    train: Callable[..., Any],
    plain: Callable[..., Any],
    on_tape: Callable[[], Tape],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual, own = plain(), Objective.loss_of

    def curious(self: Objective, *given: Any, **more: Any) -> Any:
        loss = own(self, *given, **more)
        assert float(loss.detach()) > 0
        return loss

    monkeypatch.setattr(Objective, "loss_of", curious)
    tape = on_tape()
    outcome = train()
    assert tape.recorded == 0
    assert "recording failed: a number is read on the host" in outcome.said
    assert outcome.digest() == usual.digest()


@pytest.mark.slow
def test_a_step_that_is_read_late_is_told_under_its_own_number(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a card a step is read while the next is under way."""
    options = {"save_every_n_steps": 3, "save_state": True}
    plain = train(**options)
    wrong = {
        "learning_rate": 1e30,
        "max_train_steps": 5,
        "max_train_epochs": None,
        "save_every_n_steps": 1,
    }
    at_once = train(**wrong)
    monkeypatch.setattr("lorakit.embedded.training.loop.Loop.reads_late", lambda _self: True)
    late = train(**options)
    assert late.digest() == plain.digest()
    told = [(one["step"], one["loss"], one["average"], one["lr"]) for one in plain.of("step")]
    assert told == [
        (one["step"], one["loss"], one["average"], one["lr"]) for one in late.of("step")
    ]
    assert [one["event"] for one in late.events] == [one["event"] for one in plain.events]
    stopped = train(**wrong)
    assert stopped.of("nan") == [{**at_once.of("nan")[0], "time": stopped.of("nan")[0]["time"]}]
    assert stopped.files == at_once.files
    assert stopped.events[-1]["step"] == at_once.events[-1]["step"] == 1
    late = train(**{**wrong, "save_every_n_steps": None})
    assert late.of("nan")[0]["files"] == at_once.of("nan")[0]["files"]
    assert not late.folder.exists()


@pytest.mark.slow
def test_nothing_after_a_number_that_is_not_finite_reaches_the_weights(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that were under way when it was noticed have changed nothing."""
    from lorakit.embedded.training import step

    seen: list[Any] = []
    own_update, own_read = step.Stepper.update, step.Taken.read

    def update(self: step.Stepper, *given: Any) -> None:
        own_update(self, *given)
        seen.append(self.s.network.copies()["unet"])

    def learn(self: step.Stepper, inputs: Any) -> None:
        own_learn(self, inputs)
        if len(seen) == 2:
            self.s.network.gradients()[0][5] = torch.nan

    own_learn = step.Stepper.learn
    monkeypatch.setattr(step.Stepper, "update", update)
    monkeypatch.setattr(step.Stepper, "learn", learn)
    monkeypatch.setattr("lorakit.embedded.training.loop.Loop.reads_late", lambda _self: True)
    outcome = train(max_train_epochs=2)
    assert outcome.of("nan")[0]["step"] == 3
    assert "step 3: a gradient is not a finite number" in outcome.said
    assert own_read is step.Taken.read
    assert len(seen) == 4  # the one after it was under way
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[2])
    assert torch.equal(seen[2], seen[3])
