"""AdamW over flat tensors: torch's own fused step without torch.optim.Optimizer, whose first use
imports the compiler (a second, 70 MB).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim.adamw import adamw

DEFAULTS: dict[str, Any] = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2}


class AdamW:
    """Bit for bit torch.optim.AdamW(fused=True), as far as the trainer uses it."""

    def __init__(self, groups: Sequence[Mapping[str, Any]], lr: float, **keywords: Any) -> None:
        self.param_groups: list[dict[str, Any]] = [
            {"lr": lr, **DEFAULTS, **keywords, **group} for group in groups
        ]
        self.state: dict[torch.Tensor, dict[str, torch.Tensor]] = {}
        self.rounds = False  # bfloat16 weights by chance, from float32
        self.rates: list[torch.Tensor] = []  # on the device, a group each, where steps are recorded

    @torch.no_grad()
    def step(self, skip: torch.Tensor | None = None) -> None:
        """`skip`: where it holds 1, nothing changes; the host need not know."""
        for place, group in enumerate(self.param_groups):
            params = [value for value in group["params"] if value.grad is not None]
            for value in params:
                if value not in self.state:
                    self.state[value] = self._fresh(value)
            states = [self.state[value] for value in params]
            wide = [value.float() for value in params] if self.rounds else params
            adamw(
                wide,
                [value.grad.to(one.dtype) for value, one in zip(params, wide, strict=True)],
                [s["exp_avg"] for s in states],
                [s["exp_avg_sq"] for s in states],
                [],
                [s["step"] for s in states],
                fused=True,
                amsgrad=False,
                maximize=False,
                lr=self.rates[place] if self.rates else group["lr"],
                found_inf=skip,
                eps=group["eps"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
            )
            for value, one, state in zip(params, wide, states, strict=True):
                if one is not value:
                    value.copy_(rounded(one, state["step"]))

    def _fresh(self, value: torch.Tensor) -> dict[str, torch.Tensor]:
        kind = torch.float32 if self.rounds else value.dtype
        step = torch.zeros((), dtype=torch.float32, device=value.device)
        return {
            "step": step,
            "exp_avg": torch.zeros_like(value, dtype=kind),
            "exp_avg_sq": torch.zeros_like(value, dtype=kind),
        }

    def keep_rates_on(self, device: torch.device) -> None:
        """What is recorded once must find the rates of every later step."""
        kind = torch.float32 if device.type == "cuda" else torch.float64  # as the kernels read them
        rates = [group["lr"] for group in self.param_groups]
        self.rates = [torch.tensor(rate, device=device, dtype=kind) for rate in rates]

    def _params(self) -> list[torch.Tensor]:
        return [value for group in self.param_groups for value in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        numbered = enumerate(self._params())
        state = {number: dict(self.state[one]) for number, one in numbered if one in self.state}
        return {"state": state, "param_groups": self.param_groups}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        for group, old in zip(self.param_groups, saved["param_groups"], strict=True):
            group.update({key: value for key, value in old.items() if key != "params"})
        params = self._params()
        self.state = {
            params[number]: {
                key: value.to(params[number].device, copy=True) for key, value in state.items()
            }
            for number, state in saved["state"].items()
        }


def rounded(wide: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """To bfloat16, up or down as likely as each is near, so that steps smaller than its digits add
    up. Chance is a hash of the place and the step: the same on every device and after a resume.
    """
    place = torch.arange(wide.numel(), dtype=torch.int32, device=wide.device).view(wide.shape)
    chance = place * -1640531535 + step.int() * -2048144789
    for shift, factor in ((15, 739982445), (12, 695872825), (15, 1)):
        chance = (chance ^ (chance >> shift)) * factor
    bits = (wide.view(torch.int32) + (chance & 0xFFFF)) & -0x10000
    return bits.view(torch.float32).bfloat16()
