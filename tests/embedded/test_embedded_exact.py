"""The same bytes: seeded runs, resumed runs, runs with everything switched on in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_bases import prompts_toml


@pytest.mark.slow
def test_two_seeded_runs_give_the_same_bytes_and_another_seed_does_not(
    train: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    first, second, other = plain(), train(), train(seed=8)
    assert first.code == second.code == 0
    assert first.digest() == second.digest() != other.digest()
    assert first.sha256() == second.sha256() != other.sha256()
    assert first.metadata()["ss_session_id"] != other.metadata()["ss_session_id"]


@pytest.mark.slow
def test_the_times_in_a_file_are_those_of_source_date_epoch_and_count_steps(
    train: Callable[..., Any], plain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = plain().metadata()
    assert float(said["ss_training_started_at"]) == 315532800
    assert float(said["ss_training_finished_at"]) == 315532800 + int(said["ss_steps"])
    assert said["modelspec.date"] == "1980-01-01T00:00:08"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    said = train().metadata()
    assert float(said["ss_training_started_at"]) == 1700000000
    assert said["modelspec.date"] == "2023-11-14T22:13:28"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    refused = train()
    assert refused.code == 1
    assert "SOURCE_DATE_EPOCH" in refused.said


@pytest.mark.slow
def test_a_run_resumed_at_any_step_ends_with_the_bytes_of_the_uninterrupted_one(
    train: Callable[..., Any],
) -> None:
    """Two accumulated batches a step and an odd number of batches, so that steps end short at the end of an epoch."""
    options = {
        "max_train_epochs": 3,
        "gradient_accumulation_steps": 3,
        "save_every_n_steps": 1,
        "save_state": True,
        "lr_scheduler": "cosine",
        "network_dropout": 0.2,
        "lr_warmup_steps": 2,
    }
    whole = train(**options)
    assert [event["step"] for event in whole.of("step")] == list(range(1, 10))
    for step in range(1, 9):
        resumed = train(**options, resume=whole.folder / f"fox-step{step:08d}-state")
        assert resumed.of("step")[0]["step"] == step + 1
        assert resumed.digest() == whole.digest(), step
        assert resumed.sha256() == whole.sha256(), step
        assert resumed.of("step")[-1]["average"] == whole.of("step")[-1]["average"]


@pytest.mark.slow
def test_a_run_resumed_twice_is_the_same_run(train: Callable[..., Any]) -> None:
    options = {"save_every_n_steps": 3, "save_state": True, "ema_decay": 0.9}
    whole = train(**options)
    once = train(**options, resume=whole.folder / "fox-step00000003-state")
    twice = train(**options, resume=once.folder / "fox-step00000006-state")
    assert whole.digest() == once.digest() == twice.digest()
    assert whole.sha256() == once.sha256() == twice.sha256()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "more"),
    [
        ("Lion", {}),
        ("Prodigy", {"learning_rate": 1.0}),
        ("AdamWScheduleFree", {}),
        ("SGDNesterov", {}),
        ("RAdam", {}),
        ("AdamW", {"lr_scheduler_type": "ExponentialLR", "lr_scheduler_args": ["gamma=0.9"]}),
    ],
)
def test_every_optimiser_resumes_exactly(
    train: Callable[..., Any], optimizer: str, more: dict[str, Any]
) -> None:
    options = {
        "optimizer_type": optimizer,
        "max_train_steps": 4,
        "max_train_epochs": None,
        "save_every_n_steps": 2,
        "save_state": True,
        **more,
    }
    whole = train(**options)
    resumed = train(**options, resume=whole.folder / "fox-step00000002-state")
    assert resumed.digest() == whole.digest()
    assert whole.digest() != whole.digest("-step00000002")


@pytest.mark.slow
def test_saving_sampling_and_validating_do_not_change_what_is_learned(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    prompts = prompts_toml(tmp_path / "prompts.toml", "zwx --w 64 --h 64 --s 2 --d 1")
    options = {
        "validation_split": 0.25,
        "validation_seed": 1,
        "optimizer_type": "AdamWScheduleFree",
    }
    plain = train(**options, validate_every_n_epochs=99)
    busy = train(
        **options,
        validate_every_n_steps=2,
        save_every_n_steps=3,
        save_state=True,
        sample_prompts=prompts,
        sample_every_n_steps=4,
    )
    assert busy.of("sample")
    assert busy.of("validation")
    assert plain.digest() == busy.digest()


@pytest.mark.slow
def test_a_run_killed_after_its_last_state_gets_its_last_file_when_resumed(
    train: Callable[..., Any],
) -> None:
    whole = train(save_every_n_steps=8, save_state=True)
    rest = train(
        save_every_n_steps=8, save_state=True, resume=whole.folder / "fox-step00000008-state"
    )
    assert rest.code == 0
    assert rest.digest() == whole.digest()
    assert (
        train(
            resume=whole.folder / "fox-step00000008-state", max_train_epochs=None, max_train_steps=4
        ).code
        == 1
    )


@pytest.mark.slow
def test_a_state_of_another_run_is_refused_with_both_values(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(save_state_on_train_end=True, max_train_epochs=1)
    other = train(resume=first.folder / "fox-state", seed=9, max_train_epochs=2)
    assert other.code == 1
    assert "seed: was 7 in that run and is 9 now" in other.said
    (tmp_path / "data" / "2_zwx" / "0.txt").write_text("another caption", encoding="utf-8")
    assert " dataset: was " in train(resume=first.folder / "fox-state", max_train_epochs=2).said
    monkeypatch.setenv("LORAKIT_ANYWAY", "1")  # lorakit resume --anyway
    assert train(resume=first.folder / "fox-state", max_train_epochs=2).code == 0
    assert train(resume=first.folder / "fox-state", max_train_epochs=2, seed=9).code == 1
