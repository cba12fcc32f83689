"""How far off are products of frozen layers in few bits? `python tools/low_bits.py` prints a table:
the relative error of the weight, of a product and of the gradient of its input, against float64,
for layers like those of the families. Weights and inputs are normal.
"""

from __future__ import annotations

import torch
from torch import nn

from lorakit.embedded.models.low_bits import FORMS, Frozen

KINDS: dict[str, type[Frozen]] = {"fp8_base": Frozen, **FORMS}
LAYERS = {"SD1.5 320x320": (320, 320), "SDXL 640x1280": (640, 1280), "FLUX 1024x512": (1024, 512)}


def errors(form: str, size: tuple[int, int], rows: int = 48) -> tuple[float, float, float]:
    torch.manual_seed(size[0])
    module = nn.Linear(*size).requires_grad_(requires_grad=False)
    module.weight.normal_(std=0.03)
    true = module.weight.double().clone()
    frozen = KINDS[form](module)
    x, grad = torch.randn(rows, size[0]), torch.randn(rows, size[1])
    return (
        _off(frozen.wide(torch.float32), true),
        _off(frozen.product(x, None), x.double() @ true.t()),
        _off(frozen.pull(grad), grad.double() @ true),
    )


def _off(found: torch.Tensor, true: torch.Tensor) -> float:
    return float((found.double() - true).norm() / true.norm())


def main() -> None:
    print("| layer | form | weight | product | gradient |\n|---|---|---|---|---|")
    for name, size in LAYERS.items():
        for form in KINDS:
            found = " | ".join(f"{100 * one:.2f} %" for one in errors(form, size))
            print(f"| {name} | {form} | {found} |")


if __name__ == "__main__":
    main()
