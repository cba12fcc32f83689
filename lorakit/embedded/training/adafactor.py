"""Adafactor (arXiv 1804.04235): a second moment of rows and columns instead of every number. The
arguments, defaults and numbers are those of transformers' class, which kohya's scripts use.
"""

import math
from typing import Any

import torch


class Adafactor(torch.optim.Optimizer):
    KOHYAS_NAME = "transformers.optimization.Adafactor"

    def __init__(
        self,
        params: Any,
        lr: float | None = None,
        *,
        eps: tuple[float, float] = (1e-30, 1e-3),  # of the squared gradient, of the weights' size
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta1: float | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ) -> None:
        if lr is not None and relative_step:
            raise ValueError("lr and relative_step=True exclude each other")
        if warmup_init and not relative_step:
            raise ValueError("warmup_init=True needs relative_step=True")
        settings = {"lr": lr, "eps": eps, "clip_threshold": clip_threshold, "beta1": beta1}
        settings |= {"decay_rate": decay_rate, "weight_decay": weight_decay}
        settings |= {"scale_parameter": scale_parameter, "relative_step": relative_step}
        super().__init__(params, settings | {"warmup_init": warmup_init})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002 -- the base class's signature
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step(group, weight)

    def _step(self, group: dict[str, Any], weight: torch.Tensor) -> None:
        grad, wide = weight.grad.float(), weight.float()
        state = self.state[weight]
        if not state:
            state["step"] = 0
            if group["beta1"] is not None:
                state["exp_avg"] = torch.zeros_like(grad)
            if grad.dim() >= 2:
                state["exp_avg_sq_row"] = grad.new_zeros(grad.shape[:-1])
                state["exp_avg_sq_col"] = grad.new_zeros(grad.shape[:-2] + grad.shape[-1:])
            else:
                state["exp_avg_sq"] = torch.zeros_like(grad)
        state["step"] += 1
        state["RMS"] = _rms(wide)
        rate = self.rate(group, state)
        keep = 1.0 - math.pow(state["step"], group["decay_rate"])
        update = _scaled(grad, state, keep, group["eps"][0])
        update.div_((_rms(update) / group["clip_threshold"]).clamp_(min=1.0)).mul_(rate)
        if group["beta1"] is not None:
            mean = state["exp_avg"]
            update = mean.mul_(group["beta1"]).add_(update, alpha=1 - group["beta1"])
        if group["weight_decay"]:
            wide.add_(wide, alpha=-group["weight_decay"] * rate)
        weight.copy_(wide.add_(-update))

    @staticmethod
    def rate(group: dict[str, Any], state: dict[str, Any]) -> Any:
        """What a step is multiplied by; a tensor where it follows the weights' size."""
        rate = group["lr"]
        if group["relative_step"]:
            most = 1e-6 * state["step"] if group["warmup_init"] else 1e-2
            rate = min(most, 1.0 / math.sqrt(state["step"]))
        if group["scale_parameter"]:
            return max(group["eps"][1], state["RMS"]) * rate
        return rate


def _scaled(grad: torch.Tensor, state: dict[str, Any], keep: float, eps: float) -> torch.Tensor:
    """The gradient over the root of its second moment."""
    square = grad**2 + eps
    if grad.dim() < 2:
        moment = state["exp_avg_sq"].mul_(keep).add_(square, alpha=1.0 - keep)
        return moment.rsqrt().mul_(grad)
    rows = state["exp_avg_sq_row"].mul_(keep).add_(square.mean(dim=-1), alpha=1.0 - keep)
    columns = state["exp_avg_sq_col"].mul_(keep).add_(square.mean(dim=-2), alpha=1.0 - keep)
    row_factor = (rows / rows.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1)
    return (row_factor * columns.unsqueeze(-2).rsqrt()).mul_(grad)


def _rms(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.norm(2) / tensor.numel() ** 0.5
