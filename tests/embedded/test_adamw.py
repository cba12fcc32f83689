"""Our AdamW is torch's, without what torch.optim brings along."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lorakit.embedded.training.adamw import AdamW  # noqa: E402 -- after the check that torch is there


def trained(kind: Any, steps: int, *, keep: dict[str, Any] | None = None) -> tuple[list[Any], Any]:
    chance = torch.Generator().manual_seed(3)
    weights = [torch.randn(size, generator=chance).requires_grad_() for size in (1000, 37)]
    options = {"fused": True} if kind is not AdamW else {}
    optimizer = kind(
        [{"params": [weights[0]], "lr": 1e-3}, {"params": [weights[1]]}],
        lr=5e-4,
        betas=(0.8, 0.99),
        weight_decay=0.1,
        **options,
    )
    for number in range(steps):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=chance)
        optimizer.step()
        if keep is not None and number == steps // 2:
            optimizer.load_state_dict(optimizer.state_dict())
    return weights, optimizer


def test_every_bit_is_that_of_torch() -> None:
    (ours, mine), (theirs, other) = trained(AdamW, 6), trained(torch.optim.AdamW, 6)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    for number, state in other.state_dict()["state"].items():
        assert all(
            torch.equal(value, mine.state_dict()["state"][number][key])
            for key, value in state.items()
        )


def test_a_state_taken_out_and_put_back_changes_nothing() -> None:
    assert all(
        torch.equal(a, b)
        for a, b in zip(trained(AdamW, 6)[0], trained(AdamW, 6, keep={})[0], strict=True)
    )


def test_a_step_does_not_import_the_compiler() -> None:
    program = (
        "import sys, torch; from lorakit.embedded.training.adamw import AdamW; w = torch.ones(3, requires_grad=True); w.grad = torch.ones(3); "
        "AdamW([{'params': [w]}], lr=0.1).step(); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=False).returncode == 0
    )
