"""Blocks recomputed instead of kept: the same numbers, as few of them as the memory asks for, more where it runs out. The card is a double that says how full it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lorakit.config import cache_dir  # noqa: E402
from lorakit.embedded.models.blocks import again, chosen  # noqa: E402
from lorakit.embedded.training import memory  # noqa: E402
from lorakit.embedded.training.objective import Objective  # noqa: E402

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB"


class FullCard(memory.Card):
    name = "Toy 1"

    def __init__(self, *peaks: int) -> None:
        self.peaks = [0, *peaks]
        self.returned = 0

    def room(self) -> int:
        return 1000

    def peak(self) -> int:
        return self.peaks.pop(0)

    def give_back(self) -> None:
        self.returned += 1


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def alike(one: Any, other: Any) -> None:
    """To the order in which a picture's gradients are added up."""
    for key, tensor in one.tensors().items():
        torch.testing.assert_close(tensor, other.tensors()[key])


def test_a_recomputed_block_gives_the_gradients_of_one_that_is_kept() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 4)

    def block(x: Any, others: tuple[Any, ...], nothing: None) -> tuple[Any, Any]:
        assert nothing is None
        return torch.tanh(layer(x)) * others[0], x.sum()

    found = []
    for way in (lambda f, *given: f(*given), again):
        layer.zero_grad()
        x = torch.ones(2, 4, requires_grad=True)
        out, _unused = way(block, x * 0.5, (torch.full((4,), 3.0),), None)
        out.sum().backward()
        found.append((out.detach(), x.grad, layer.weight.grad.clone()))
    for kept, recomputed in zip(*found, strict=True):
        assert torch.equal(kept, recomputed)
    assert again(block, torch.ones(2, 4), (1.0,), None)[0].grad_fn.name() != "AgainBackward"


@pytest.mark.parametrize("share", memory.SHARES)
def test_the_blocks_that_are_recomputed_are_spread(share: float) -> None:
    marks = chosen(40, share)
    assert sum(marks) == 40 * share
    assert all(sum(marks[at : at + 4]) == 4 * share for at in range(0, 40, 4))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", pytest.param("flux", marks=pytest.mark.long)])
def test_as_few_blocks_are_recomputed_as_the_memory_asks_for_and_that_is_remembered(
    train: Callable[..., Any],
    plain: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
) -> None:
    usual = plain(family)
    # 400 with all recomputed, 550 with three quarters: 850 with a quarter, 1000 with none
    card = FullCard(400, 550)
    monkeypatch.setattr(memory, "card_of", lambda _device: card)
    outcome = train(family, gradient_checkpointing="auto")
    assert outcome.code == 0, outcome.said
    alike(outcome, usual)
    assert card.peaks == []
    count = {"sd15": 12, "flux": 3}[family]
    few = sum(chosen(count, 0.25))
    assert f"{few} of {count} blocks are recomputed: so much memory is free" in outcome.said
    (known,) = json.loads((cache_dir() / "embedded" / "memory.json").read_text()).values()
    assert list(known[1].values()) == [0.25]
    again_ = train(family, gradient_checkpointing="auto")  # would ask for a peak that is not there
    alike(again_, usual)
    assert "so much memory is free" not in again_.said
    assert usual.metadata()["ss_gradient_checkpointing"] == "False"
    assert outcome.metadata()["ss_gradient_checkpointing"] == "auto"


@pytest.mark.slow
def test_a_run_that_runs_out_of_memory_recomputes_more_and_ends_alike(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"max_train_epochs": 2, "gradient_accumulation_steps": 2}
    plain = train(**options)
    card, own, calls = FullCard(), Objective.loss_of, 0

    def full(self: Objective, *given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        loss = own(self, *given, **more)
        much = not self.denoiser.gradient_checkpointing or len(self.denoiser.kept) > 6
        if calls > 5 and much:
            loss.backward()  # something of the batch has come back already
            raise torch.cuda.OutOfMemoryError(FULL)
        return loss

    monkeypatch.setattr(memory, "card_of", lambda _device: card)
    monkeypatch.setattr(Objective, "loss_of", full)
    outcome = train(**options)
    assert outcome.code == 0, outcome.said
    assert outcome.said.count("out of memory; ") == 2
    assert "out of memory; 6 of 12 blocks are recomputed from now on" in outcome.said
    assert card.returned == 2
    assert [one["step"] for one in outcome.of("step")] == [one["step"] for one in plain.of("step")]
    alike(outcome, plain)


def test_where_everything_is_recomputed_already_the_run_ends_in_words(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Objective, *_given: Any, **_more: Any) -> Any:
        raise torch.cuda.OutOfMemoryError(f"{FULL}\nand more")

    monkeypatch.setattr(Objective, "loss_of", full)
    outcome = train(gradient_checkpointing=True)
    assert outcome.code == 4
    assert f"error: {FULL}\nEverything is recomputed already." in outcome.said
    assert "Traceback" not in outcome.said


def test_only_true_false_and_auto_say_what_is_recomputed(train: Callable[..., Any]) -> None:
    outcome = train(gradient_checkpointing="often")
    assert outcome.code == 1
    assert 'takes true or false or "auto", not the text "often"' in outcome.said
