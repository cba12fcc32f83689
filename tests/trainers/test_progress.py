"""The text of sd-scripts and the events of the embedded trainer, understood."""

from __future__ import annotations

import math

from lorakit.events import Event
from lorakit.trainers.progress import EmbeddedEvents, KohyaText


def events_of(*lines: str, offset: int = 0) -> list[Event]:
    text = KohyaText(offset)
    return [event for line in lines for event in text.feed(line.encode())] + text.finish()


def steps(*lines: str, offset: int = 0) -> list[tuple[int | None, float | None]]:
    return [
        (event.step, event.loss)
        for event in events_of(*lines, offset=offset)
        if event.kind == "step"
    ]


def test_a_step_has_the_loss_of_its_second_frame() -> None:
    assert steps(
        "steps:   0%|          | 0/15 [00:00<?, ?it/s]",
        "steps:   7%|▋         | 1/15 [00:14<03:23, 14.55s/it]",
        "steps:   7%|▋         | 1/15 [00:14<03:23, 14.55s/it, avr_loss=1.09]",
        "steps:  13%|█▎        | 2/15 [00:29<03:09, 14.60s/it, avr_loss=1.09]",
        "steps:  13%|█▎        | 2/15 [00:29<03:09, 14.60s/it, avr_loss=1.01]",
    ) == [(1, 1.09), (2, 1.01)]


def test_a_loss_that_is_no_number_is_nan() -> None:
    found = steps("steps:  50%|█████     | 1/2 [00:01<00:01,  1.00s/it, avr_loss=nan]   ")
    assert found[0][0] == 1
    assert math.isnan(found[0][1] or 0)


def test_key_norms_beside_the_loss_do_not_confuse_it() -> None:
    assert steps(
        "steps:  50%|█████     | 1/2 [00:01<00:01,  1.00s/it, Keys Scaled=3, Average key norm=0.2, avr_loss=0.093]"
    ) == [(1, 0.093)]


def test_validation_bars_are_not_steps() -> None:
    assert (
        steps(
            "validation steps:  50%|█████     | 2/4 [00:01<00:01,  1.0it/s, val_avg_loss=0.1, timestep=200]"
        )
        == []
    )


def test_the_end_of_a_validation_gives_its_loss() -> None:
    events = events_of(
        "epoch validation steps: 100%|██████████| 4/4 [00:01<00:00,  2.0it/s, val_epoch_avg_loss=0.21, timestep=800]"
    )
    assert [(event.kind, event.loss) for event in events] == [("validation", 0.21)]


def test_a_validation_is_told_once_with_its_last_word() -> None:
    bar = "validation steps: 100%|██████████| 4/4 [00:01<00:00,  2.0it/s, val_avg_loss={}, timestep=800]"
    events = events_of(
        "steps:  25%|██▌       | 2/8 [00:01<00:01,  1.00s/it, avr_loss=0.5]",
        *(bar.format(loss) for loss in (0.3, 0.2, 0.2)),
        "steps:  38%|███▊      | 3/8 [00:01<00:01,  1.00s/it, avr_loss=0.4]",
    )
    assert [(one.step, one.loss) for one in events if one.kind == "validation"] == [(2, 0.2)]


def test_a_resumed_script_counts_from_zero_and_is_corrected() -> None:
    assert steps(
        "steps:  50%|█████     | 1/2 [00:01<00:01,  1.00s/it, avr_loss=0.5]", offset=10
    ) == [(11, 0.5)]


def test_markers_become_phases_files_and_epochs() -> None:
    events = events_of(
        "running training / 学習開始",
        "  total optimization steps / 学習ステップ数: 8",
        "",
        "epoch 2/3",
        "steps:  50%|█████     | 4/8 [00:01<00:01,  1.00s/it, avr_loss=0.5]",
        "saving checkpoint: /runs/fox-step00000004.safetensors",
        "removing old checkpoint: /runs/fox-step00000002.safetensors",
    )
    assert [(event.kind, event.text or event.path or event.step) for event in events] == [
        ("phase", "preparing"),
        ("phase", "training"),
        ("step", 4),
        ("phase", "saving"),
        ("saving", "/runs/fox-step00000004.safetensors"),
        ("removed", "/runs/fox-step00000002.safetensors"),
    ]
    step = next(event for event in events if event.kind == "step")
    assert (step.epoch, step.epochs, step.total) == (2, 3, 8)


def test_embedded_events_are_read_and_nonsense_is_passed_over() -> None:
    own = EmbeddedEvents()
    assert own.feed(b"{broken") == own.feed(b"[1]") == own.feed(b'{"event": "tea"}') == []
    assert own.feed(b'{"event": "step", "step": 3, "loss": 0.5, "lr": 1e-4}') == [
        Event("step", 3, loss=0.5, lr=1e-4)
    ]
    assert own.feed(b'{"event": "end", "step": 3, "reason": "early_stop"}') == [
        Event("end", 3, text="early_stop")
    ]
    assert own.feed(b'{"event": "step", "step": "three", "loss": "much"}') == [Event("step")]
