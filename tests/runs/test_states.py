"""Only intact states are offered for resuming, the newest last."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lorakit.runs.states import fault_of, states_in

FAKES = Path(__file__).parent.parent / "fakes"


@pytest.fixture
def make_state(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.delitem(sys.modules, "saying", raising=False)
    import saying

    return saying.state


def test_states_are_ordered_by_step_whatever_their_names(
    tmp_path: Path, make_state: object
) -> None:
    make_state(tmp_path / "fox-step00000006-state", 6)  # type: ignore[operator]
    make_state(tmp_path / "fox-000001-state", 4)  # type: ignore[operator]
    make_state(tmp_path / "fox-000002-state", 8)  # type: ignore[operator]
    make_state(tmp_path / "fox-state", 10)  # type: ignore[operator]
    make_state(tmp_path / "owl-000001-state", 4)  # type: ignore[operator]
    assert [(state.path.name, state.step) for state in states_in(tmp_path, "fox", per_epoch=4)] == [
        ("fox-000001-state", 4),
        ("fox-step00000006-state", 6),
        ("fox-000002-state", 8),
        ("fox-state", 10),
    ]


def test_a_state_of_the_embedded_trainer_needs_no_schedule(
    tmp_path: Path, make_state: object
) -> None:
    make_state(tmp_path / "fox-step00000006-state", 6)  # type: ignore[operator]
    (tmp_path / "fox-step00000006-state" / "scheduler.bin").unlink()
    assert fault_of(tmp_path / "fox-step00000006-state") == "holds no schedule"
    (tmp_path / "fox-step00000006-state" / "train_state.json").write_text(
        '{"current_epoch": 1, "current_step": 6, "identity": {"seed": 1}}'
    )
    assert fault_of(tmp_path / "fox-step00000006-state") == ""


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (
            lambda state: (state / "model.safetensors").write_bytes(
                (state / "model.safetensors").read_bytes()[:-4]
            ),
            "model.safetensors is cut short: 525 of 529 bytes are there",
        ),
        (lambda state: (state / "model.safetensors").unlink(), "holds no weights"),
        (lambda state: (state / "optimizer.bin").write_bytes(b""), "optimizer.bin is empty"),
        (
            lambda state: (state / "optimizer.bin").write_bytes(
                b"PK\x03\x04 a zip without its end"
            ),
            "optimizer.bin is cut short",
        ),
        (lambda state: (state / "optimizer.bin").unlink(), "holds no optimiser"),
        (lambda state: (state / "scheduler.bin").unlink(), "holds no schedule"),
        (lambda state: (state / "train_state.json").write_text("{"), "holds no step counter"),
    ],
)
def test_a_power_cut_leaves_a_state_that_is_passed_over(
    tmp_path: Path, make_state: object, damage: object, fault: str
) -> None:
    make_state(tmp_path / "fox-000001-state", 4)  # type: ignore[operator]
    make_state(tmp_path / "fox-000002-state", 8)  # type: ignore[operator]
    damage(tmp_path / "fox-000002-state")  # type: ignore[operator]
    assert fault_of(tmp_path / "fox-000002-state") == fault
    found = states_in(tmp_path, "fox", per_epoch=4)
    assert [state.path.name for state in found if not state.fault] == ["fox-000001-state"]


def test_a_state_without_a_counter_is_whole_where_its_trainer_writes_none(
    tmp_path: Path, make_state: object
) -> None:
    state = tmp_path / "fox-step00000006-state"
    make_state(state, 6)  # type: ignore[operator]
    (state / "train_state.json").unlink()
    assert fault_of(state) == "holds no step counter"
    assert fault_of(state, counted=False) == "holds no random states"  # musubi-tuner's last word
    (state / "random_states_0.pkl").write_bytes(b"random")
    assert fault_of(state, counted=False) == ""
    (found,) = states_in(tmp_path, "fox", per_epoch=4, counted=False)
    assert (found.step, found.fault) == (6, "")
