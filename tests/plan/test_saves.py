from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from plan_cases import recipe

from lorakit.plan.steps import checkpoints, sample_steps
from lorakit.recipe.options import Options

ROOT = Path("/project")


def saved(total: int, per_epoch: int, **train: Any) -> list[tuple[str, int, bool]]:
    epochs = -(-total // per_epoch)
    return [
        (one.name, one.step, one.kept)
        for one in checkpoints(Options(recipe(ROOT, train)), total, epochs, per_epoch)
    ]


def script(total: int, per_epoch: int, **train: Any) -> list[str]:
    """The script's own loop, step by step, on a set of names: what lies in output_dir at the end."""
    get: Any = train.get
    there: list[str] = []
    epochs = -(-total // per_epoch)
    every = get("save_every_n_epochs")
    if get("save_n_epoch_ratio"):
        every = epochs // get("save_n_epoch_ratio") or 1
    step = 0
    for epoch in range(1, epochs + 1):
        for _ in range(per_epoch):
            step += 1
            if get("save_every_n_steps") and step % get("save_every_n_steps") == 0:
                there.append(f"maya-step{step:08d}.safetensors")
                if get("save_state"):
                    there.append(f"maya-step{step:08d}-state")
                    last = get("save_last_n_steps_state") or get("save_last_n_steps")
                    if last is not None:
                        gone = step - last - 1
                        gone -= gone % get("save_every_n_steps")
                        there = [
                            name
                            for name in there
                            if gone <= 0 or name != f"maya-step{gone:08d}-state"
                        ]
                if get("save_last_n_steps") is not None:
                    gone = step - get("save_last_n_steps") - 1
                    gone -= gone % get("save_every_n_steps")
                    there = [
                        name
                        for name in there
                        if gone < 0 or name != f"maya-step{gone:08d}.safetensors"
                    ]
            if step >= total:
                break
        if every and epoch % every == 0 and epoch < epochs:
            there.append(f"maya-{epoch:06d}.safetensors")
            if get("save_last_n_epochs") is not None:
                there = [
                    name
                    for name in there
                    if name != f"maya-{epoch - every * get('save_last_n_epochs'):06d}.safetensors"
                ]
            if get("save_state"):
                there.append(f"maya-{epoch:06d}-state")
                last = get("save_last_n_epochs_state") or get("save_last_n_epochs")
                if last is not None:
                    there = [
                        name for name in there if name != f"maya-{epoch - every * last:06d}-state"
                    ]
    if get("save_state") or get("save_state_on_train_end"):
        there.append("maya-state")
    return [*there, "maya.safetensors"]


maybe = some.one_of(some.none(), some.integers(1, 7))


@pytest.mark.slow
@given(
    total=some.integers(1, 60),
    per_epoch=some.integers(1, 15),
    save_every_n_epochs=maybe,
    save_every_n_steps=maybe,
    save_last_n_epochs=some.one_of(some.none(), some.integers(0, 7)),
    save_last_n_steps=some.one_of(some.none(), some.integers(0, 25)),
    save_last_n_epochs_state=maybe,
    save_last_n_steps_state=maybe,
    save_n_epoch_ratio=maybe,
    save_state=some.booleans(),
    save_state_on_train_end=some.booleans(),
)
def test_what_is_left_at_the_end_is_what_the_scripts_loop_leaves(
    total: int, per_epoch: int, **options: Any
) -> None:
    train = {key: value for key, value in options.items() if value is not None}
    assert [name for name, _, kept in saved(total, per_epoch, **train) if kept] == script(
        total, per_epoch, **train
    )


def test_the_last_epoch_has_the_final_file_only() -> None:
    assert saved(30, 10, save_every_n_epochs=1) == [
        ("maya-000001.safetensors", 10, True),
        ("maya-000002.safetensors", 20, True),
        ("maya.safetensors", 30, True),
    ]


def test_a_step_that_ends_the_run_gives_both_files() -> None:
    assert [name for name, _, _ in saved(20, 10, save_every_n_steps=10)] == [
        "maya-step00000010.safetensors",
        "maya-step00000020.safetensors",
        "maya.safetensors",
    ]


def test_save_last_n_steps_counts_steps_and_not_files() -> None:
    assert [
        step
        for _, step, kept in saved(400, 100, save_every_n_steps=100, save_last_n_steps=200)
        if kept
    ] == [200, 300, 400, 400]


def test_a_ratio_decides_over_the_interval() -> None:
    assert [name for name, _, _ in saved(100, 10, save_n_epoch_ratio=3, save_every_n_epochs=1)] == [
        "maya-000003.safetensors",
        "maya-000006.safetensors",
        "maya-000009.safetensors",
        "maya.safetensors",
    ]


def test_states_lie_beside_every_save_and_at_the_end() -> None:
    names = [name for name, _, _ in saved(20, 10, save_every_n_epochs=1, save_state=True)]
    assert names == [
        "maya-000001.safetensors",
        "maya-000001-state",
        "maya-state",
        "maya.safetensors",
    ]


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ({"sample_every_n_epochs": 1}, (10, 20, 25)),
        ({"sample_every_n_steps": 8}, (8, 16, 24)),
        ({"sample_every_n_steps": 8, "sample_every_n_epochs": 2}, (20,)),
        ({"sample_at_first": True}, (0,)),
        ({"sample_every_n_epochs": 0, "sample_every_n_steps": 12}, (12, 24)),
        ({"sample_every_n_steps": 13}, (13,)),
        ({"sample_every_n_steps": 0}, ()),
    ],
)
def test_samples_follow_epochs_before_steps_and_come_after_the_last_one_too(
    sample: dict[str, Any], expected: tuple[int, ...]
) -> None:
    resolved = recipe(ROOT, {**sample, "sample_prompts": "/project/prompts.toml"})
    assert sample_steps(Options(resolved), 25, 3, 10) == expected


def test_without_prompts_nothing_is_sampled() -> None:
    assert sample_steps(Options(recipe(ROOT, {"sample_every_n_epochs": 1})), 25, 3, 10) == ()


def test_a_run_of_one_step_is_saved_and_sampled_too() -> None:
    assert sample_steps(
        Options(recipe(ROOT, {"sample_every_n_steps": 1, "sample_prompts": "x"})), 1, 1, 1
    ) == (1,)
    assert saved(1, 1, save_every_n_steps=1) == [
        ("maya-step00000001.safetensors", 1, True),
        ("maya.safetensors", 1, True),
    ]


@pytest.mark.parametrize("key", ["save_every_n_epochs", "save_every_n_steps", "save_n_epoch_ratio"])
def test_an_interval_of_zero_saves_nothing_here_and_is_refused_elsewhere(key: str) -> None:
    assert saved(20, 10, **{key: 0}) == [("maya.safetensors", 20, True)]


def test_a_step_lies_in_the_epoch_that_is_running_when_it_ends() -> None:
    made = checkpoints(Options(recipe(ROOT, {"save_every_n_steps": 5})), 15, 2, 10)
    assert [(one.step, one.epoch) for one in made] == [(5, 1), (10, 1), (15, 2), (15, 2)]
