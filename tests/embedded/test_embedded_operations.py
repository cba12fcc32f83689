"""What a step asks of a device, counted by the dispatcher on the real models' number of blocks. Before the lean step: SD1.5 3,926 operations, SDXL 13,369, FLUX 12,951; every weight of every adapter cast in every step; two reads on the host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from count_ops import READS, Counting, count  # noqa: E402  (tools/ is not a package)
from tiny_bases import make_tiny  # noqa: E402

pytestmark = pytest.mark.usefixtures("_on_the_cpu")


@pytest.fixture
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


@pytest.mark.slow
@pytest.mark.parametrize(("family", "most"), [("sd15", 2_250), ("sdxl", 6_800), ("flux", 9_500)])
def test_a_step_stays_lean(tmp_path: Path, family: str, most: int) -> None:
    found = count(family, make_tiny(family, tmp_path / "base", deep=True), tmp_path)
    assert found.total <= most
    assert found.weight_casts == 0
    assert found.host_reads == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"mixed_precision": "fp16"},
        {"network_train_unet_only": False, "scale_weight_norms": 1.0, "ema_decay": 0.9},
        {"network_dropout": 0.1, "network_args": ["rank_dropout=0.1", "module_dropout=0.1"]},
        {"gradient_accumulation_steps": 2, "gradient_checkpointing": True},
    ],
    ids=lambda more: next(iter(more), "plain"),
)
def test_nothing_in_a_step_waits_or_casts_a_weight(tmp_path: Path, more: dict[str, Any]) -> None:
    found = count("sd15", make_tiny("sd15", tmp_path / "base"), tmp_path, **more)
    assert (found.host_reads, found.weight_casts) == (0, 0)


@pytest.mark.slow
def test_the_counter_sees_what_it_is_there_for() -> None:
    weight, x = torch.ones(3, 3), torch.ones(3)
    with Counting(iter([weight])) as counting:
        y = torch.mv(weight[1:].to(torch.float64).float(), x)
        assert float(y[0]) == 3.0
    counts = counting.counts
    assert (counts.weight_casts, counts.host_reads, counts.total) == (1, 1, 3)
    assert "aten::item" in READS
