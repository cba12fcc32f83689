"""Optimisers under kohya's names. Where one looks at single numbers only, it gets one flat tensor
per group: one fused call a step.
"""

import argparse
import contextlib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from lorakit.embedded.network import targets
from lorakit.embedded.network.lora import Network
from lorakit.embedded.training import adamw
from lorakit.errors import SetupError, refused
from lorakit.trainers.embedded.options import OPTIMISERS
from lorakit.trainers.embedded.schedulers import (
    Factor,
    keeps_its_own_pace,
    keyword_arguments,
    optimizer_type,
    schedule,
)
from lorakit.trainers.signatures import package_of

FIRST_SCALE = 65536.0
GROWS_AFTER = 2000  # steps in a row whose gradients were finite
LEAST_SCALE = 1.0  # below it the scale is not what makes the gradients overflow


def rates(args: argparse.Namespace, groups: list[str]) -> dict[str, float]:
    """The learning rate of every group; a group whose rate is 0 is saved, but not trained."""
    extra = targets.network_args(args)
    given = args.text_encoder_lr or []
    found = {}
    for group in groups:
        name = group.removesuffix(" plus")
        # of several rates for text encoders kohya, too, uses the first
        own = args.unet_lr if name == "unet" else given[0] if given else None
        rate = args.learning_rate if own is None else own
        ratio = targets.plus_ratio(extra, name) if group != name else None
        found[group] = rate if ratio is None else rate * ratio
    return found


class Optimizer:
    """The optimiser, its schedule and its state as plain tensors and numbers."""

    def __init__(self, args: argparse.Namespace, network: Network, world_size: int) -> None:
        self.network, self.world_size = network, world_size
        name = optimizer_type(args)
        keywords = keyword_arguments(args.optimizer_args)
        every = rates(args, list(network.flat))
        self.rates = {group: rate for group, rate in every.items() if rate}
        if not self.rates:
            raise refused("learning_rate", "every learning rate is 0: nothing would be trained.")
        dotted = OPTIMISERS.get(name.lower(), "")
        # it may see flat tensors where it looks at single numbers only
        flat = bool(dotted) and not dotted.startswith(("bitsandbytes.", "lorakit."))
        cls = _named_class("optimizer_type", dotted or name, "torch.optim")
        self.schedule_free = name.lower().endswith("schedulefree")
        own_pace = bool(keeps_its_own_pace(args))
        self.relative = own_pace and not self.schedule_free
        if self.relative:
            keywords["relative_step"] = True
        if name.lower().startswith("sgdnesterov"):
            keywords = {"momentum": 0.9, "nesterov": True, **keywords}
        light = name.lower() == "adamw" and set(keywords) <= set(adamw.DEFAULTS)
        groups: list[dict[str, Any]] = []
        for group, rate in self.rates.items():
            members = [network.flat[group]] if flat else network.parameters(group)
            groups.append({"params": members} | ({} if self.relative else {"lr": rate}))
        make: Any = adamw.AdamW if light and not args.lr_scheduler_type else cls
        self.inner = make(groups, lr=None if self.relative else args.learning_rate, **keywords)
        if self.schedule_free:
            self.inner.train()
        if self.on_device is not None:
            self.on_device.rounds = bool(args.stochastic_rounding)
        self.name = getattr(cls, "KOHYAS_NAME", f"{cls.__module__}.{cls.__name__}")
        arguments = ",".join(f"{key}={value}" for key, value in keywords.items())
        # as kohya writes it into the metadata
        self.described = f"{self.name}({arguments})" if arguments else self.name
        self.other: Any = None
        if args.lr_scheduler_type:
            scheduler = "torch.optim.lr_scheduler"
            cls = _named_class("lr_scheduler_type", args.lr_scheduler_type, scheduler)
            self.other = cls(self.inner, **keyword_arguments(args.lr_scheduler_args))
        self.factor: Factor | None = None
        if not own_pace and self.other is None:
            self.factor = schedule(args, args.max_train_steps * world_size)
        self.set_step(0)

    def _groups(self) -> list[tuple[str, dict[str, Any]]]:
        return list(zip(self.rates, self.inner.param_groups, strict=True))

    @property
    def on_device(self) -> adamw.AdamW | None:
        """The optimiser whose update asks nothing of the host, so that it can be recorded."""
        return self.inner if isinstance(self.inner, adamw.AdamW) else None

    def update(self, skip: torch.Tensor) -> None:
        """Where `skip` holds 1, the weights stay as they are."""
        if self.on_device is not None:
            self.on_device.step(skip)
        elif not bool(skip):
            self.inner.step()
            if self.other is not None:
                self.other.step()

    def set_step(self, done: int) -> None:
        """The rates of the step after `done`."""
        if self.factor is not None:
            factor = self.factor(done * self.world_size)
            for name, group in self._groups():
                group["lr"] = self.rates[name] * factor
        if self.on_device is not None:
            for rate, (_, group) in zip(self.on_device.rates, self._groups(), strict=False):
                rate.fill_(group["lr"])

    def learning_rates(self) -> dict[str, float]:
        """What each group's rate is now; Adafactor's own is known after its first step."""
        if not self.relative:
            return {name: float(group["lr"]) for name, group in self._groups()}
        rate, state = self.inner.rate, self.inner.state
        return {
            name: float(rate(group, state[group["params"][0]])) if state else 0.0
            for name, group in self._groups()
        }

    def adapted_rates(self) -> dict[str, float]:
        """Prodigy's estimate times the rate."""
        groups = self._groups()
        return {name: float(group["d"] * group["lr"]) for name, group in groups if "d" in group}

    @contextlib.contextmanager
    def weights_to_use(self) -> Iterator[None]:
        """Schedule-free optimisers train at one point and mean another."""
        if not self.schedule_free:
            yield
            return
        with self.network.given_back():
            self.inner.eval()
            self.network.refresh()
            try:
                yield
            finally:
                self.inner.train()

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors, and everything else, which is plain numbers."""
        data = self.inner.state_dict()
        tensors: dict[str, torch.Tensor] = {}
        groups = [
            {
                key: value.item() if isinstance(value, torch.Tensor) else value
                for key, value in group.items()
                if key != "params"
            }
            for group in data["param_groups"]
        ]
        plain: dict[str, Any] = {"groups": groups, "state": {}}
        for index, entry in data["state"].items():
            for key, value in entry.items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{index}.{key}"] = value.detach().cpu().contiguous()
                else:
                    plain["state"].setdefault(str(index), {})[key] = value
        if self.other is not None:
            simple = (int, float, str, list, dict, type(None))
            facts = self.other.state_dict().items()
            plain["scheduler"] = {key: fact for key, fact in facts if isinstance(fact, simple)}
        return tensors, plain

    def load(self, tensors: dict[str, torch.Tensor], plain: dict[str, Any]) -> None:
        data = self.inner.state_dict()
        state = {int(index): dict(entry) for index, entry in plain["state"].items()}
        for name, tensor in tensors.items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        for group, saved in zip(data["param_groups"], plain["groups"], strict=True):
            for key, value in saved.items():  # JSON makes lists of tuples
                group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
        self.inner.load_state_dict({"state": state, "param_groups": data["param_groups"]})
        if self.other is not None:
            self.other.load_state_dict({**self.other.state_dict(), **plain["scheduler"]})


def _named_class(option: str, name: str, home: str) -> Any:
    """Any class by its path, or of `home`, as with kohya."""
    module, _, cls = name.rpartition(".")
    module = module or home
    try:
        return getattr(importlib.import_module(module), cls)
    except ImportError as error:
        package = package_of(module)
        needs = f"{option} {name!r} needs the package {package}: {error}"
        raise SetupError(needs, hint=f"pip install {package}") from error
    except AttributeError as error:
        raise refused(f"{option} {name!r}", f"{module} has no such class.") from error


class LossScale:
    """fp16: the loss is scaled up so that small gradients survive, by torch's GradScaler's rule.
    The scale stays on the device; a state holds it as plain numbers.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.scale = torch.full((), FIRST_SCALE, device=device)
        self.finite_steps = torch.zeros((), device=device, dtype=torch.int32)

    def after(self, overflowed: torch.Tensor) -> None:
        """`overflowed`: 1 where a gradient was not finite, else 0."""
        torch._amp_update_scale_(self.scale, self.finite_steps, overflowed, 2.0, 0.5, GROWS_AFTER)

    def facts(self) -> dict[str, Any]:
        return {"scale": float(self.scale), "finite_steps": int(self.finite_steps)}

    def load(self, facts: Mapping[str, Any]) -> None:
        self.scale.fill_(facts["scale"])
        self.finite_steps.fill_(facts["finite_steps"])


class Average:
    """An exponential moving average of the weights, for `ema_decay`. It follows faster at first,
    min(decay, (1 + n) / (10 + n)), so that a short run is not an average of nothing.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network, self.decay = network, decay
        self.flat = network.copies()
        device = next(iter(self.flat.values())).device
        self.pace = torch.zeros((), device=device)  # how far it moves, on the device

    def set_step(self, done: int) -> None:
        keep = min(self.decay, (1 + done) / (10 + done))
        self.pace.fill_(1 - keep)

    @torch.no_grad()
    def update(self) -> None:
        for group, flat in self.network.flat.items():
            self.flat[group].lerp_(flat, self.pace.to(flat.dtype))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The network carries the average."""
        with self.network.given_back():
            self.network.overwrite(self.flat)
            yield
