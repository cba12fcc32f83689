"""Our Adafactor is transformers', to the last bit."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lorakit.embedded.training.adafactor import Adafactor  # noqa: E402


def trained(kind: Any, dtype: Any, settings: dict[str, Any], *, again: bool = False) -> Any:
    chance = torch.Generator().manual_seed(3)
    shapes = ((7, 5), (3, 4, 2, 2), (11,))
    weights = [torch.randn(shape, generator=chance).to(dtype).requires_grad_() for shape in shapes]
    optimizer = kind([{"params": weights[:1]}, {"params": weights[1:]}], **settings)
    for number in range(5):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=chance).to(dtype)
        optimizer.step()
        if again and number == 2:
            optimizer.load_state_dict(optimizer.state_dict())
    return weights, optimizer


@pytest.mark.slow  # importing transformers takes longer than the comparison
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"warmup_init": True},
        {"lr": 1e-3, "relative_step": False, "scale_parameter": False, "beta1": 0.9},
        {"lr": 1e-3, "relative_step": False, "weight_decay": 0.1, "clip_threshold": 0.5},
    ],
)
def test_every_bit_is_that_of_transformers(settings: dict[str, Any], dtype: str) -> None:
    optimization = pytest.importorskip(
        "transformers.optimization", reason="compares with transformers"
    )
    kind = getattr(torch, dtype)
    found, mine = trained(Adafactor, kind, settings)
    expected, other = trained(optimization.Adafactor, kind, settings)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    group, state = mine.param_groups[0], mine.state[found[0]]
    rate = other._get_lr(other.param_groups[0], other.state[expected[0]])
    assert float(mine.rate(group, state)) == float(rate)


@pytest.mark.slow
def test_a_state_taken_out_and_put_back_changes_nothing() -> None:
    plain, _ = trained(Adafactor, torch.float32, {})
    resumed, _ = trained(Adafactor, torch.float32, {}, again=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, resumed, strict=True))


@pytest.mark.parametrize(
    "settings", [{"lr": 1e-3}, {"lr": 1e-3, "relative_step": False, "warmup_init": True}]
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="relative_step=True"):
        Adafactor([torch.zeros(1, requires_grad=True)], **settings)
