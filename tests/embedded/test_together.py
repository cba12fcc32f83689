"""Queries, keys and values as one product: the numbers of three, and the states of runs that had three."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tiny_bases import make_tiny  # noqa: E402 -- after the check that torch is there

from lorakit.embedded.models import open_base  # noqa: E402
from lorakit.embedded.models.low_bits import shrink  # noqa: E402
from lorakit.embedded.models.unet import Attention  # noqa: E402
from lorakit.embedded.network import targets  # noqa: E402
from lorakit.embedded.network.lora import Dropout, Network, Shape  # noqa: E402
from lorakit.embedded.network.together import joint_product, stacked  # noqa: E402

WIDTH, CONTEXT = 64, 48


def made(
    context: int | None, kind: Any, *, ranks: tuple[int, ...] = (4, 4, 4), **more: Any
) -> tuple[Any, Network]:
    torch.manual_seed(3)
    attention: Any = Attention(WIDTH, context, 4).requires_grad_(requires_grad=False).to(kind)
    weights = [layer.weight for layer in attention.alike]
    beside = torch.cat([one.data for one in weights]).split([len(one) for one in weights])
    for weight, own in zip(weights, beside, strict=True):
        weight.data = own
    layers = {"q": attention.to_q, "k": attention.to_k, "v": attention.to_v}
    shapes = [
        Shape(name, layer, rank, rank / 2, "unet")
        for (name, layer), rank in zip(layers.items(), ranks, strict=True)
    ]
    network = Network(
        shapes,
        more.get("dropout", Dropout()),
        seed=1,
        device="cpu",
        dtype=torch.float32,
        plus=frozenset(["unet"]) if more.get("plus") else frozenset(),
        alike=[attention.alike],
    )
    with torch.no_grad():
        for adapter in network.adapters:
            adapter.up.normal_(std=0.3)
    network.refresh()
    return attention, network


def answers(attention: Any, network: Network, context: int | None, kind: Any) -> list[Any]:
    torch.manual_seed(5)
    x = torch.randn(2, 24, WIDTH, dtype=kind, requires_grad=True)
    other = torch.randn(2, 7, context, dtype=kind, requires_grad=True) if context else None
    out = attention(x, other) if context else attention(x)
    (out * torch.randn_like(out)).sum().backward()
    network.gather()
    found = [out, x.grad, *(part.clone() for part in network.gradients())]
    found += [other.grad] if other is not None else []
    return [part.detach() for part in found]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("plus", [False, True], ids=["", "loraplus"])
@pytest.mark.parametrize("ranks", [(4, 4, 4), (2, 8, 5)], ids=str)
@pytest.mark.parametrize("context", [None, CONTEXT], ids=["itself", "words"])
def test_one_product_gives_the_numbers_of_three(
    context: int | None, ranks: tuple[int, ...], plus: bool, kind: Any
) -> None:
    attention, network = made(context, kind, ranks=ranks, plus=plus)
    names, before = list(attention.state_dict()), attention.to_k.weight.clone()
    apart = answers(attention, network, context, kind)
    network.zero_grad()
    attention.together = joint_product(network, attention.alike)
    assert attention.together is not None
    one = answers(attention, network, context, kind)
    for found, expected in zip(one, apart, strict=True):
        off = (found.double() - expected.double()).norm() / expected.double().norm()
        assert float(off) < (1e-6 if kind == torch.float32 else 1e-2)
    assert list(attention.state_dict()) == names
    assert torch.equal(attention.to_k.weight, before)


def test_weights_are_read_to_where_one_product_finds_them(tmp_path: Path) -> None:
    """Beside each other from the start: joined later, a full-size SDXL would hold 2.5 GB twice."""
    given = Namespace(pretrained_model_name_or_path=str(make_tiny("sdxl", tmp_path / "base")))
    unet: Any = open_base(given, "sdxl").load_denoiser(torch.float32, "cpu")
    found = [one for one in unet.modules() if isinstance(one, Attention)]
    layers = [[layer.weight for layer in one.alike] for one in found]
    assert found and all(stacked([one.data for one in beside]) is not None for beside in layers)
    storages = {one.untyped_storage().data_ptr(): one for one in unet.parameters()}
    held = sum(one.untyped_storage().nbytes() for one in storages.values())
    assert held == sum(one.nbytes for one in unet.parameters())


def test_what_is_not_plain_stays_three_products() -> None:
    attention, network = made(None, torch.float32, dropout=Dropout(neuron=0.1))
    assert joint_product(network, attention.alike) is None
    attention, network = made(None, torch.float32)
    network.adapters.pop()  # a layer without an adapter
    assert joint_product(network, attention.alike) is None
    attention, network = made(None, torch.float32)
    network.adapters[1].scale = 2.0
    assert joint_product(network, attention.alike) is None
    attention, network = made(None, torch.float32)
    attention.to_v.weight.data = attention.to_v.weight.data.clone()
    assert joint_product(network, attention.alike) is None
    for form in (None, "int8"):
        attention, _ = made(None, torch.float32)
        shrink(attention, torch.float32, form)
        shapes = [Shape(str(one), one, 4, 2.0, "unet") for one in attention.alike]
        network = Network(shapes, Dropout(), seed=1, device="cpu", dtype=torch.float32)
        assert joint_product(network, attention.alike) is None


def test_weights_that_are_moved_apart_are_multiplied_apart() -> None:
    attention, network = made(None, torch.float32)
    attention.together = joint_product(network, attention.alike)
    first = answers(attention, network, None, torch.float32)
    attention.to_v.weight.data = attention.to_v.weight.data.clone() * 2
    network.zero_grad()
    moved = answers(attention, network, None, torch.float32)
    assert not torch.allclose(first[0], moved[0])


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"network_args": ["loraplus_lr_ratio=4"]}], ids=str)
def test_a_state_from_before_resumes_with_the_bytes_of_its_own_run(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    """Its flat tensors have another order: the run goes on with that, and says so in its states."""
    options = {"save_every_n_steps": 3, "save_state": True, "ema_decay": 0.9, **more}
    options |= {"max_train_epochs": None, "max_train_steps": 6, "lr_scheduler": "cosine"}
    new = train(**options)
    own = targets.build
    with monkeypatch.context() as old:
        old.setattr(targets, "build", lambda *given, **_: own(*given, ordered=False))
        before = train(**options)
    state = before.folder / "fox-step00000003-state"
    facts = json.loads((state / "train_state.json").read_text())
    assert facts["identity"].pop("ordered") is None
    (state / "train_state.json").write_text(json.dumps(facts))
    once = train(**options, resume=state)
    assert before.digest() == once.digest() != new.digest()
    told = json.loads((once.folder / "fox-step00000006-state" / "train_state.json").read_text())
    assert told["identity"]["ordered"] is None
    for key, tensor in new.tensors().items():
        torch.testing.assert_close(tensor, before.tensors()[key], atol=1e-4, rtol=1e-3)
    again = train(**options, resume=new.folder / "fox-step00000003-state")
    assert again.digest() == new.digest()
