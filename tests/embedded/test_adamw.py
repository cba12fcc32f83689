"""Our AdamW is torch's, without what torch.optim brings along."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lorakit.embedded.training.adamw import AdamW, rounded  # noqa: E402 -- after the check that torch is there


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


@pytest.mark.slow
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


def test_rounding_by_chance_is_fair_and_leaves_what_fits() -> None:
    value = torch.tensor([1.001, -0.3, 1e-20, 0.0, 3.0]).repeat_interleave(50_000)
    made = rounded(value, torch.tensor(7.0))
    for first in range(0, len(value), 50_000):
        part, true = made[first : first + 50_000].double(), float(value[first])
        assert len(part.unique()) <= 2
        assert float(part.mean()) == pytest.approx(true, rel=1e-4)
    assert torch.equal(made, rounded(value, torch.tensor(7.0)))
    assert not torch.equal(made, rounded(value, torch.tensor(8.0)))


@pytest.mark.parametrize(("rounds", "moved"), [(False, 0.0), (True, 200 * 1e-5)])
def test_steps_smaller_than_the_digits_of_bf16_add_up(*, rounds: bool, moved: float) -> None:
    weight = torch.ones(20_000, dtype=torch.bfloat16).requires_grad_()
    weight.grad = torch.ones_like(weight)
    optimizer = AdamW([{"params": [weight]}], lr=1e-5, weight_decay=0.0)
    optimizer.rounds = rounds
    for _ in range(200):
        optimizer.step()
    assert 1 - float(weight.detach().double().mean()) == pytest.approx(moved, rel=0.05, abs=1e-12)
