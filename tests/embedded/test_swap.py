"""Blocks whose weights wait in the host's memory: the same training, to the last bit."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lorakit.embedded.models.swap import Swap, spread  # noqa: E402

Train = Any


@pytest.mark.parametrize(
    ("family", "count", "options"),
    [
        ("sdxl", 2, {}),
        ("flux", 1, {"cache_text_encoder_outputs": True}),
        ("flux", 1, {"cache_text_encoder_outputs": True, "fp8_base": True}),
    ],
)
@pytest.mark.slow
def test_a_training_with_swapped_blocks_gives_the_same_bytes(
    train: Train, family: str, count: int, options: dict[str, Any]
) -> None:
    if "fp8_base" in options:
        options = {**options, "mixed_precision": "bf16"}
    common = {"gradient_checkpointing": True, "max_train_epochs": None, "max_train_steps": 3}
    stays = train(family, **common, **options)
    swaps = train(family, **common, **options, blocks_to_swap=count)
    assert (stays.code, swaps.code) == (0, 0), swaps.said
    assert swaps.digest() == stays.digest()
    many = train(family, **common, **options, blocks_to_swap=30)
    assert many.code == 1
    assert "blocks_to_swap: 30 is too many: the model has" in many.said


def test_the_next_block_is_there_before_its_turn_in_both_directions() -> None:
    blocks = [nn.Linear(4, 4) for _ in range(5)]
    copies = [block.weight.detach().clone() for block in blocks]
    swap = Swap(blocks, torch.device("cpu"))
    fetched: list[int] = []
    fetch = swap._fetch

    def told(place: int, slot: int) -> None:
        fetched.append(place)
        fetch(place, slot)

    swap._fetch = told  # type: ignore[method-assign]
    for place in (0, 1, 2, 3, 4, 4, 3, 2, 1, 0):
        swap.around(blocks[place])(torch.zeros(1, 4))
        assert torch.equal(blocks[place].weight, copies[place])
        assert len({place, *swap.holds}) == 2
    assert fetched == [0, 1, 2, 3, 4, 2, 1, 0]  # 3 was there still
    assert all(torch.equal(b.weight, c) for b, c in zip(blocks, copies, strict=True))


def test_what_is_swapped_is_spread_over_the_model() -> None:
    blocks = [nn.Linear(1, 1) for _ in range(10)]
    assert [blocks.index(one) for one in spread(blocks, 3)] == [1, 5, 8]
    assert spread(blocks, 10) == blocks
    assert spread(blocks, 0) == []


def test_swapping_without_checkpointing_is_refused(train: Train) -> None:
    found = train("sdxl", blocks_to_swap=1, max_train_steps=1)
    assert found.code == 1
    assert "blocks_to_swap: needs gradient_checkpointing" in found.said
