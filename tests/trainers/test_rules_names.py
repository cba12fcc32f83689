"""The names that the rules hold against a recipe are those of the scripts and of the libraries they ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorakit.catalogue.options import networks
from lorakit.trainers.kohya.rules.learning import CYCLIC, SCHEDULERS
from lorakit.trainers.kohya.rules.network import MADE_FOR
from lorakit.trainers.optimisers import CLASSES, TORCH


@pytest.mark.slow
def test_every_schedule_is_one_that_the_scripts_libraries_have() -> None:
    transformers = pytest.importorskip("transformers.trainer_utils")
    diffusers = pytest.importorskip("diffusers.optimization")
    theirs = {kind.value for kind in (*transformers.SchedulerType, *diffusers.SchedulerType)}
    assert set(SCHEDULERS) <= theirs
    assert set(CYCLIC) <= set(SCHEDULERS)


@pytest.mark.slow
def test_every_torch_optimiser_exists() -> None:
    optim = pytest.importorskip("torch.optim")
    assert [name for name in TORCH if not hasattr(optim, name)] == []


@pytest.mark.real
def test_every_built_in_optimiser_is_in_the_checkout(sd_scripts: Path) -> None:
    source = (sd_scripts / "library" / "train_util.py").read_text(encoding="utf-8").lower()
    assert [name for name in CLASSES if f'"{name.lower()}"' not in source] == []


def test_every_network_of_the_scripts_is_made_for_some_family() -> None:
    assert set(networks()) == set(MADE_FOR)
