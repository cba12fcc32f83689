"""What a tracker was told, read back from where it keeps it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

from lorakit.cli.main import main

LOSSES = (0.5, 0.25, 0.125)


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))
    from engine_runs import left_run

    settings = {"train": {"network_dim": {"value": 8, "source": "recipe"}}}
    monkeypatch.chdir(tmp_path)
    return left_run(tmp_path, "maya", losses=LOSSES, settings=settings)


def test_tensorboard_reads_back_every_step(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert main(["track", "maya", "--to", "tensorboard"]) == 0
    assert "3 steps of maya/20260101-120000 are in tensorboard." in capsys.readouterr().err
    seen = loading.EventAccumulator(str(ran / "tracked")).Reload().Scalars("loss")
    assert [(one.step, one.value) for one in seen] == list(enumerate(LOSSES, 1))


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_trackers_with_the_calls_of_wandb_get_settings_and_steps(
    name: str, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    module = ModuleType(name)
    module.init = lambda **how: told.append(how)  # type: ignore[attr-defined]
    module.log = lambda values, step: told.append((step, values))  # type: ignore[attr-defined]
    module.finish = lambda: told.append("end")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    assert main(["track", "maya", "--to", name, "--project", "faces"]) == 0
    config = {"train.network_dim": 8}
    assert told[0] == {"project": "faces", "name": "maya-20260101-120000", "config": config}
    assert told[1:] == [*((step, {"loss": loss}) for step, loss in enumerate(LOSSES, 1)), "end"]


def test_a_tracker_that_is_not_installed_is_said(
    ran: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert main(["track", "maya", "--to", "mlflow"]) == 1
    assert (
        "mlflow is not here" in (said := capsys.readouterr().err) and "pip install mlflow" in said
    )


def test_mlflow_gets_every_step_in_batches_and_what_it_refuses_is_a_sentence(
    ran: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, told = MagicMock(), list[Any]()
    module.entities.Metric = lambda key, value, when, step: (key, value, step)
    module.MlflowClient.return_value.log_batch = lambda run, batch: told.extend(batch)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    assert main(["track", "maya", "--to", "mlflow"]) == 0
    assert told == [("loss", loss, step) for step, loss in enumerate(LOSSES, 1)]
    capsys.readouterr()
    module.set_experiment.side_effect = RuntimeError("connection refused")
    assert main(["track", "maya", "--to", "mlflow"]) == 1
    assert "mlflow took nothing, or not all: connection refused" in capsys.readouterr().err
