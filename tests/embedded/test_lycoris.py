"""LyCORIS' adapters: the rebuilt layer against the formula written out, and files that others read."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lorakit.embedded.network.lora import Dropout, Network, Shape  # noqa: E402
from lorakit.embedded.network.lycoris import Rebuilt, changed, factors_of  # noqa: E402

Train = Any
FORMS: tuple[dict[str, str], ...] = (
    {"algo": "lora", "dora_wd": "True"},
    {"algo": "loha", "rs_lora": "True"},
    {"algo": "loha", "dora_wd": "True"},
    {"algo": "lokr", "factor": "4"},
    {"algo": "lokr", "factor": "4", "decompose_both": "True", "dora_wd": "True"},
    {"algo": "lokr", "full_matrix": "True"},
)
LAYERS = {"linear": lambda: nn.Linear(24, 32), "conv": lambda: nn.Conv2d(8, 12, 3, 2, 1)}
SIZES = {"linear": (2, 5, 24), "conv": (2, 8, 9, 7)}


def network(module: nn.Module, extra: dict[str, str], dtype: Any = torch.float64) -> Network:
    shape = Shape("lora_unet_x", module, 2, 1.0, "unet")
    return Network(
        [shape],
        Dropout(float(extra.get("rank_dropout", 0))),
        seed=1,
        device="cpu",
        dtype=dtype,
        make=lambda one, dropout: Rebuilt(one, dropout, extra),
    )


def formula(module: Any, of: dict[str, Any], scale: float) -> Any:
    """The layer's whole weight, as LyCORIS' own code says it."""
    if "lora_up.weight" in of:
        delta = of["lora_up.weight"].flatten(1) @ of["lora_down.weight"].flatten(1)
    elif "hada_w1_a" in of:
        delta = (of["hada_w1_a"] @ of["hada_w1_b"]) * (of["hada_w2_a"] @ of["hada_w2_b"])
    else:
        first = of["lokr_w1"] if "lokr_w1" in of else of["lokr_w1_a"] @ of["lokr_w1_b"]
        second = of["lokr_w2"] if "lokr_w2" in of else of["lokr_w2_a"] @ of["lokr_w2_b"]
        second = second.flatten(1)
        delta = torch.kron(first, second)
    weight = module.weight.detach() + scale * delta.view(module.weight.shape)
    if "dora_scale" not in of:
        return weight
    length = weight.flatten(1).norm(dim=1).view(of["dora_scale"].shape)
    return weight * (of["dora_scale"] / (length + torch.finfo(torch.float32).eps))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("extra", FORMS, ids=lambda extra: "-".join(extra.values()))
def test_a_rebuilt_layer_answers_and_learns_as_the_formula_does(
    kind: str, extra: dict[str, str]
) -> None:
    torch.manual_seed(4)
    module: Any = LAYERS[kind]().double().requires_grad_(requires_grad=False)
    plain = type(module).forward
    made = network(module, extra)
    (adapter,) = made.adapters
    x = torch.randn(SIZES[kind], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(module(x), plain(module, x), rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        for name, part in made.named().items():
            if "dora" not in name:
                part.normal_(std=0.3)
    parts = {name: getattr(adapter, name).detach().clone() for name in adapter.shapes}
    own = {name: part.requires_grad_() for name, part in parts.items()}
    again = x.detach().clone().requires_grad_()
    whole = formula(module, own, adapter.scale)
    if kind == "conv":
        expected = nn.functional.conv2d(again, whole, module.bias, module.stride, module.padding)
    else:
        expected = nn.functional.linear(again, whole, module.bias)
    found, grad = module(x), torch.randn(expected.shape, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    made.zero_grad()
    x.grad = None
    found.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(x.grad, again.grad, rtol=1e-5, atol=1e-5)
    for name, part in own.items():
        torch.testing.assert_close(getattr(adapter, name).grad, part.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("extra", FORMS, ids=lambda extra: "-".join(extra.values()))
def test_a_file_is_drawn_as_it_was_trained(extra: dict[str, str]) -> None:
    module: Any = nn.Linear(24, 32).requires_grad_(requires_grad=False)
    weight = module.weight.detach().clone()
    made = network(module, extra, torch.float32)
    with torch.no_grad():
        for part in made.named().values():
            part.add_(torch.rand_like(part) * 0.2)
    x = torch.randn(3, 24)
    file = {key.partition(".")[2]: part for key, part in made.state_dict().items()}
    worn = changed(file, weight, 1.0)
    torch.testing.assert_close(
        nn.functional.linear(x, worn, module.bias), module(x), rtol=1e-4, atol=1e-4
    )
    assert torch.equal(changed(file, weight, 0.0), weight)


def test_numbers_come_apart_as_lycoris_takes_them_apart() -> None:
    told = {(127, -1): (1, 127), (250, -1): (10, 25), (360, 4): (4, 90), (512, 8): (8, 64)}
    told |= {(250, 4): (2, 125), (1024, 16): (16, 64), (360, 16): (15, 24), (64, 128): (8, 8)}
    for (dimension, factor), pair in told.items():
        assert factors_of(dimension, factor) == pair, (dimension, factor)


def test_rank_dropout_leaves_outputs_unchanged_and_is_off_outside_training() -> None:
    module: Any = nn.Linear(24, 400).requires_grad_(requires_grad=False)
    plain = nn.Linear.forward
    made = network(module, {"algo": "loha", "rank_dropout": "0.5"}, torch.float32)
    made.adapters[0].dropout = Dropout(rank=0.5)
    with torch.no_grad():
        for part in made.named().values():
            part.add_(0.3)
    x = torch.randn(2, 24)
    same = (module(x) == plain(module, x)).all(0)
    assert 120 < int(same.sum()) < 280
    made.train(on=False)
    assert not bool((module(x) == plain(module, x)).all(0).any())


@pytest.mark.parametrize("extra", [{"algo": "lora"}, {"algo": "loha"}, {"algo": "lokr"}], ids=str)
@pytest.mark.slow
def test_peft_answers_the_same(extra: dict[str, str]) -> None:
    """DoRA, LoHa and LoKr of the library that diffusers reads."""
    peft = pytest.importorskip("peft")
    module: Any = nn.Linear(24, 32)
    other = nn.Sequential(nn.Linear(24, 32))
    other[0].load_state_dict(module.state_dict())
    made = network(
        module, {**extra, **({"dora_wd": "True"} if extra["algo"] == "lora" else {})}, torch.float32
    )
    with torch.no_grad():
        for part in made.named().values():
            part.add_(torch.rand_like(part) * 0.2)
    common = {"r": 2, "target_modules": ["0"]}
    if extra["algo"] == "lora":
        config = peft.LoraConfig(**common, lora_alpha=1, use_dora=True)
    elif extra["algo"] == "loha":
        config = peft.LoHaConfig(**common, alpha=1)
    else:
        config = peft.LoKrConfig(**common, alpha=1)
    theirs = peft.get_peft_model(other, config)
    file = {key.partition(".")[2]: part for key, part in made.state_dict().items()}
    names = {"lora_A.": "lora_down.weight", "lora_B.": "lora_up.weight", "magnitude": "dora_scale"}
    with torch.no_grad():
        for name, part in theirs.named_parameters():
            key = next((ours for word, ours in names.items() if word in name), name.split(".")[-2])
            if part.requires_grad:
                part.copy_(file[key].reshape(part.shape))
    x = torch.randn(3, 24)
    torch.testing.assert_close(module(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "extra", "keys"),
    [
        ("sd15", ["algo=loha"], {"alpha", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),
        (
            "sdxl",
            ["algo=lora", "dora_wd=True", "preset=attn-mlp"],
            {"alpha", "lora_up.weight", "lora_down.weight", "dora_scale"},
        ),
        (
            "flux",
            ["algo=lokr", "factor=4"],
            {"alpha", "lokr_w1", "lokr_w2", "lokr_w2_a", "lokr_w2_b"},
        ),
    ],
)
def test_each_form_trains_and_goes_on_from_its_file(
    train: Train, family: str, extra: list[str], keys: set[str]
) -> None:
    options: dict[str, Any] = {"network_module": "lycoris.kohya", "network_args": extra}
    options["max_train_epochs"] = None
    if family == "flux":
        options["cache_text_encoder_outputs"] = True
    whole = train(family, max_train_steps=4, save_every_n_steps=2, save_state=True, **options)
    assert whole.code == 0, whole.said
    tensors = whole.tensors()
    assert {key.partition(".")[2] for key in tensors} <= keys
    assert whole.metadata()["ss_network_module"] == "lycoris.kohya"
    state = whole.folder / "fox-step00000002-state"
    resumed = train(family, max_train_steps=4, resume=state, **options)
    assert resumed.digest() == whole.digest()
    again = train(
        family, max_train_steps=1, network_weights=whole.folder / "fox.safetensors", **options
    )
    assert "0 missing, 0 unknown" in again.said
    other = train(
        family,
        max_train_steps=1,
        network_weights=whole.folder / "fox.safetensors",
        **{**options, "network_dim": 1, "network_alpha": 1},
    )
    assert other.code == 1
    assert "by the recipe" in other.said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"network_args": ["algo=oft"]}, "takes one of lora, locon, loha, lokr"),
        ({"network_args": ["dora_wd=False"]}, "takes True, or is left out"),
        ({"network_args": ["factor=8"]}, "has no effect without algo=lokr"),
        ({"network_args": ["use_tucker=True"]}, "the embedded trainer does not know it"),
        ({"network_args": ["algo=loha"], "network_dropout": 0.1}, "network_dropout: is not impl"),
        ({"network_args": ["algo=lokr", "rs_lora=True"]}, "at another strength"),
        ({"network_args": ["preset=ia3"]}, "takes one of full, full-lin, attn-mlp"),
        ({"network_args": ["module_dropout=0.1", "dora_wd=True"]}, "beside dora_wd"),
    ],
)
def test_what_of_lycoris_is_not_implemented_is_refused_by_name(
    train: Train, options: dict[str, Any], said: str
) -> None:
    found = train(network_module="lycoris.kohya", max_train_steps=1, **options)
    assert found.code == 1
    assert said in found.said
