"""Frozen layers in few bits: how far off they are, and that a training still learns the same."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lorakit.embedded.models.low_bits import FORMS, Frozen, Int8, normal_values, shrink, wide_weight  # noqa: E402
from lorakit.embedded.network.lora import Dropout, Network, Shape  # noqa: E402

Train = Any
KINDS: dict[str, type[Frozen]] = {"fp8_base": Frozen, **FORMS}
SIZES = {"SD1.5": (320, 320), "SDXL": (640, 1280), "FLUX": (1024, 512)}  # of a layer like theirs
# How far a product may be off, relative to one in float64; the two are equal within a fifth.
FAR = {"fp8_base": 0.0287, "fp8": 0.0372, "int8": 0.0107, "nf4": 0.0921}


def layer(size: tuple[int, int]) -> tuple[Any, Any]:
    """Weights as a trained layer has them, and what they are in float64."""
    torch.manual_seed(size[0])
    module: Any = nn.Linear(*size).requires_grad_(requires_grad=False)
    module.weight.normal_(std=0.03)
    return module, module.weight.double().clone()


def off(found: Any, true: Any) -> float:
    return float((found.double() - true).norm() / true.norm())


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("form", KINDS)
def test_the_error_of_each_form_is_known_forwards_and_back(form: str, name: str) -> None:
    module, true = layer(SIZES[name])
    frozen = KINDS[form](module)
    x, grad = torch.randn(48, SIZES[name][0]), torch.randn(48, SIZES[name][1])
    for found, exact in (
        (frozen.product(x, None), x.double() @ true.t()),
        (frozen.pull(grad), grad.double() @ true),
    ):
        assert FAR[form] * 0.8 < off(found, exact) < FAR[form] * 1.2
    few = x[:3], grad[:3]
    assert torch.equal(frozen.product(few[0], None), few[0] @ frozen.wide(torch.float32).t())
    assert torch.equal(frozen.pull(few[1]), few[1] @ frozen.wide(torch.float32))


def test_fp8_is_what_torchs_own_product_gives() -> None:
    """The twin that computes here against the kernel's own call, which newer torch has here, too."""
    module, _ = layer((64, 96))
    frozen = FORMS["fp8"](module)
    assert frozen.module.weight.dtype == torch.float8_e4m3fn
    x = torch.randn(32, 64)
    few, scale = frozen.rows(x)  # type: ignore[attr-defined]
    try:
        theirs = torch._scaled_mm(
            few,
            module.weight.t(),
            scale_a=scale,
            scale_b=module.weight_scale.t().contiguous(),
            out_dtype=torch.bfloat16,
        )
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"this torch does not do it on the CPU: {error}")
    torch.testing.assert_close(frozen.product(x, None).bfloat16(), theirs, rtol=1e-2, atol=1e-3)


def test_int8_products_are_whole_numbers_times_their_scales() -> None:
    module, _ = layer((64, 96))
    frozen = Int8(module)
    x = torch.randn(32, 64)
    few, scale = frozen.rows(x)
    exact = (few.double() @ module.weight.double().t()) * scale * module.weight_scale.t()
    torch.testing.assert_close(frozen.product(x, None).double(), exact, rtol=1e-6, atol=1e-6)


def test_nf4_has_the_papers_values_and_takes_half_a_byte() -> None:
    values = normal_values(torch.device("cpu"))
    told = [-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.09105]
    told += [0.0, 0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.562617, 0.7229568, 1.0]
    torch.testing.assert_close(values, torch.tensor(told))
    module: Any = nn.Linear(30, 7).requires_grad_(requires_grad=False)  # not a whole block
    true = module.weight.clone()
    FORMS["nf4"](module)
    assert module.weight.numel() == 256 / 2
    assert off(wide_weight(module, torch.float32), true.double()) < 0.12


@pytest.mark.parametrize("form", KINDS)
def test_an_adapter_on_few_bits_learns_as_on_the_widened_weight(form: str) -> None:
    module, _ = layer((64, 64))
    shrink(nn.Sequential(module), torch.float32, None if form == "fp8_base" else form)
    plain: Any = nn.Linear(64, 64).requires_grad_(requires_grad=False)
    plain.weight.copy_(wide_weight(module, torch.float32))
    plain.bias.copy_(module.bias)
    made = [
        Network(
            [Shape("a", one, 4, 2.0, "unet")], Dropout(), seed=1, device="cpu", dtype=torch.float32
        )
        for one in (module, plain)
    ]
    x = torch.randn(40, 64)
    answers = []
    for one, network in zip((module, plain), made, strict=True):
        with torch.no_grad():
            network.adapters[0].up.copy_(torch.eye(64, 4))
        network.refresh()
        inner = x.clone().requires_grad_()
        out = one(inner)
        out.square().sum().backward()
        answers.append((out.detach(), inner.grad, network.flat["unet"].grad))
    for found, expected in zip(*answers, strict=True):
        assert off(found, expected.double()) < (0.06 if form in ("fp8", "int8") else 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    ["fp8", *(pytest.param(form, marks=pytest.mark.long) for form in FORMS if form != "fp8")],
)
def test_the_loss_follows_that_of_bf16(train: Train, form: str) -> None:
    options: dict[str, Any] = {"mixed_precision": "bf16", "max_train_epochs": None}
    options["max_train_steps"] = 24
    wide, few = train("sd15", **options), train("sd15", **options, frozen_linear=form)
    assert few.code == 0, few.said
    assert few.metadata()["ss_frozen_linear"] == form
    pairs = [(a["loss"], b["loss"]) for a, b in zip(few.of("step"), wide.of("step"), strict=True)]
    assert all(mine == pytest.approx(theirs, rel=0.05) for mine, theirs in pairs)
    means = [sum(side) / len(side) for side in zip(*pairs, strict=True)]
    assert means[0] == pytest.approx(means[1], rel=0.01)
    options |= {"max_train_steps": 2, "frozen_linear": form, "gradient_checkpointing": True}
    stays, swapped = train("sdxl", **options), train("sdxl", **options, blocks_to_swap=2)
    assert swapped.digest() == stays.digest()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frozen_linear": "fp8"}, 'frozen_linear: needs mixed_precision = "bf16" or "fp16"'),
        ({"frozen_linear": "int4", "mixed_precision": "bf16"}, "is not one of fp8, int8, nf4"),
        (
            {"frozen_linear": "nf4", "fp8_base": True, "mixed_precision": "bf16"},
            "frozen_linear: cannot be combined with fp8_base",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    train: Train, options: dict[str, Any], said: str
) -> None:
    found = train(max_train_steps=1, **options)
    assert found.code == 1
    assert said in found.said
