"""Low-rank adapters on frozen Linear and Conv2d modules, named and shaped as networks.lora and
networks.lora_flux name and shape theirs.

The adapters' weights are views into one flat tensor per group, so that clipping, averaging over
processes and the optimiser are single calls.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lorakit.embedded.models.low_bits import wide_size
from lorakit.embedded.network.low_rank import LowRankLinear, LowRankPixels
from lorakit.embedded.training.world import seed_of

WIDE = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Shape:
    """What an adapter is: its name in the file, its module, rank and alpha."""

    name: str
    module: nn.Module
    dim: int
    alpha: float
    group: str  # "unet", "textencoder", "textencoder 1", ...


@dataclass(frozen=True)
class Dropout:
    neuron: float = 0.0
    rank: float = 0.0
    module: float = 0.0

    @property
    def any(self) -> bool:
        return self.neuron > 0 or self.rank > 0 or self.module > 0


class Adapter:
    """One adapter; replaces its module's forward."""

    sides: Mapping[str, str] = {"down": "lora_down.weight", "up": "lora_up.weight"}  # in the file

    def __init__(self, shape: Shape, dropout: Dropout) -> None:
        self.name, self.group, self.module = shape.name, shape.group, shape.module
        self.dim, self.alpha, self.scale = shape.dim, shape.alpha, shape.alpha / shape.dim
        self.dropout, self.training = dropout, True
        self.conv = isinstance(shape.module, nn.Conv2d)
        self.shapes = self.layout(shape)
        self.down: Tensor
        self.up: Tensor
        # the same numbers in the type that the layer computes in; gradients gather in their .grad
        self.work: dict[str, Tensor] = {}
        once = (1, 1)  # a pixel at a time
        self._wide = self.conv and (self.module.kernel_size, self.module.stride) != (once, once)
        self._plain = shape.module.forward
        shape.module.forward = self.forward
        self._product = LowRankPixels if self.conv else LowRankLinear

    def layout(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        out_dim, *in_dim = wide_size(shape.module)
        up = (out_dim, shape.dim, 1, 1) if self.conv else (out_dim, shape.dim)
        return {"down": (shape.dim, *in_dim), "up": up}

    def start(self, chance: torch.Generator) -> None:
        self.down.copy_(kaiming(self.shapes["down"], chance))

    def forward(self, x: Tensor) -> Tensor:
        down, up = self.work["down"], self.work["up"]
        x, drop = x.to(down.dtype), self.dropout if self.training else Dropout()
        if self._wide or drop.any:
            return self._spelt_out(x, down, up, drop)
        weight, bias = getattr(self.module, "frozen", self.module.weight), self.module.bias
        bias = None if bias is None else bias.to(x.dtype)
        gradients = (down.grad, (up.grad,))
        return self._product.apply(x, weight, bias, down, (up,), self.scale, gradients)

    def _spelt_out(self, x: Tensor, down: Tensor, up: Tensor, drop: Dropout) -> Tensor:
        """The same sum, for convolutions and dropout; chance is drawn where the numbers are."""
        out, scale = self._plain(x), self.scale
        if self.conv:
            low = F.conv2d(x, down, None, self.module.stride, self.module.padding)
        else:
            low = F.linear(x, down)
        if drop.neuron:
            low = F.dropout(low, drop.neuron)
        if drop.rank:
            low = low * self._kept(low)
            scale /= 1.0 - drop.rank
        high = (F.conv2d if self.conv else F.linear)(low, up)
        if drop.module:
            high = high * (torch.rand(1, device=x.device) >= drop.module)
        return torch.add(out, high, alpha=scale)

    def _kept(self, low: Tensor) -> Tensor:
        """Which ranks of every sample are kept."""
        rows, middle = low.shape[0], (1,) * (low.dim() - 2)
        spread = (self.dim, *middle) if self.conv else (*middle, self.dim)
        kept = torch.rand((rows, self.dim), device=low.device) > self.dropout.rank
        return kept.to(low.dtype).view(rows, *spread)


class Network:
    """All adapters, their weights in one flat tensor a group; two with LoRA+, whose up is apart."""

    def __init__(
        self,
        shapes: list[Shape],
        dropout: Dropout,
        *,
        seed: int,
        device: torch.device | str,
        dtype: torch.dtype,
        compute: torch.dtype | None = None,
        plus: frozenset[str] = frozenset(),
        alike: Sequence[Sequence[nn.Module]] = (),  # given the same: their downs lie together
        make: Callable[[Shape, Dropout], Adapter] = Adapter,
    ) -> None:
        """`dtype` is what is learned in, `compute` what layers in fewer than 16 bits compute in."""
        self.compute = compute or dtype
        self.adapters = [make(shape, dropout) for shape in shapes]
        self.parts: dict[str, list[tuple[Adapter, str]]] = {}  # in their order in the flat tensor
        self.ordered = bool(alike) or None  # None: as in older states
        company = {layer: place for place, layers in enumerate(alike) for layer in layers}
        self.flat: dict[str, Tensor] = {}
        self.work: dict[str, Tensor] = {}  # the flat tensor itself where the types are equal
        for group in dict.fromkeys(adapter.group for adapter in self.adapters):
            members = [adapter for adapter in self.adapters if adapter.group == group]
            halves = {group: ("down",), f"{group} plus": ("up",)} if group in plus else {group: ()}
            runs = [[*run] for _, run in groupby(members, lambda a: company.get(a.module, a))]
            for name, own in halves.items():
                sides = [(run, side) for run in runs for side in own or run[0].shapes]
                self.parts[name] = [(a, side) for run, side in sides for a in run]
                self._allot(name, device, dtype)
        for adapter in self.adapters:
            generator = torch.Generator().manual_seed(seed_of(seed, "init", adapter.name))
            with torch.no_grad():
                adapter.start(generator)
        self.refresh()

    def _allot(self, group: str, device: torch.device | str, dtype: torch.dtype) -> None:
        members = self.parts[group]
        shapes = [adapter.shapes[side] for adapter, side in members]
        total = sum(math.prod(shape) for shape in shapes)
        flat = work = _with_gradient(total, device, dtype)
        own = members[0][0].module.weight.dtype
        kind = own if own in WIDE else self.compute
        if kind != dtype:
            work = _with_gradient(total, device, kind)
        at = 0
        for (adapter, side), shape in zip(members, shapes, strict=True):
            view = _part(flat, at, shape)
            setattr(adapter, side, view)
            adapter.work[side] = view if work is flat else _part(work, at, shape)
            at += math.prod(shape)
        self.flat[group], self.work[group] = flat, work

    @torch.no_grad()
    def refresh(self) -> None:
        """Due whenever the flat tensors have changed: the layers compute with a cast of them."""
        for group, flat in self.flat.items():
            if self.work[group] is not flat:
                self.work[group].copy_(flat)

    @torch.no_grad()
    def gather(self) -> None:
        """What a batch's way back has left in the working type is added to the gradients."""
        for group, flat in self.flat.items():
            grad = self.work[group].grad
            if self.work[group] is not flat and grad is not None and flat.grad is not None:
                flat.grad.add_(grad)
                grad.zero_()

    @property
    def draws(self) -> bool:
        """Whether chance has a part in what the layers compute."""
        return any(adapter.dropout.any for adapter in self.adapters)

    def parameters(self, group: str) -> list[Tensor]:
        """The single matrices of a group, for optimisers that look at shapes."""
        return [getattr(adapter, side) for adapter, side in self.parts[group]]

    def gradients(self) -> list[Tensor]:
        return [flat.grad for flat in self.flat.values() if flat.grad is not None]

    def copies(self) -> dict[str, Tensor]:
        return {group: flat.detach().clone() for group, flat in self.flat.items()}

    @torch.no_grad()
    def overwrite(self, values: Mapping[str, Tensor]) -> None:
        for group, flat in self.flat.items():
            flat.copy_(values[group])
        self.refresh()

    @contextlib.contextmanager
    def given_back(self) -> Iterator[None]:
        """Whatever happens to the weights inside, training goes on with the same bytes."""
        kept = self.copies()
        try:
            yield
        finally:
            self.overwrite(kept)

    def zero_grad(self) -> None:
        """In the working type, too, where a batch that was not finished has left something."""
        for one in {*self.flat.values(), *self.work.values()}:
            if one.grad is not None:
                one.grad.zero_()

    def train(self, *, on: bool) -> None:
        for adapter in self.adapters:
            adapter.training = on

    def state_dict(self) -> dict[str, Tensor]:
        """Kohya's keys; detached copies on the CPU."""
        state = {f"{one.name}.alpha": torch.tensor(float(one.alpha)) for one in self.adapters}
        for key, weight in self.named().items():
            state[key] = weight.detach().to("cpu", copy=True)
        return state

    def named(self) -> dict[str, Tensor]:
        """What is learned, by its key in the file."""
        every = self.adapters
        return {f"{a.name}.{a.sides[side]}": getattr(a, side) for a in every for side in a.shapes}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
        """Weights from a file; what the file lacks and what it has beyond us."""
        wanted = self.named()
        for key, parameter in wanted.items():
            if key in state:
                parameter.copy_(state[key].reshape(parameter.shape))
        self.refresh()
        missing = [key for key in wanted if key not in state]
        return missing, [key for key in state if key not in wanted and not key.endswith(".alpha")]

    @torch.no_grad()
    def limit_norms(self, limit: float) -> Tensor:
        """Scale every adapter whose product is longer than `limit`; how many were, the mean and
        the largest norm after it, still on the device.
        """
        products = [(a.up.flatten(1).float(), a.down.flatten(1).float()) for a in self.adapters]
        scales = [adapter.scale for adapter in self.adapters]
        norms = [(up @ down).norm() * s for (up, down), s in zip(products, scales, strict=True)]
        found = torch.stack(norms)
        over = found > limit
        ratios = torch.where(over, limit / found, 1.0).sqrt().unbind()
        for adapter, ratio in zip(self.adapters, ratios, strict=True):
            adapter.up.mul_(ratio)
            adapter.down.mul_(ratio)
        found = found.clamp(max=limit)
        return torch.stack([over.sum().to(found), found.mean(), found.max()])


def kaiming(shape: tuple[int, ...], chance: torch.Generator) -> Tensor:
    """With a = sqrt(5), kohya's choice."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(shape).uniform_(-bound, bound, generator=chance)


def _with_gradient(count: int, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    flat = torch.zeros(count, device=device, dtype=dtype, requires_grad=True)
    flat.grad = torch.zeros_like(flat)
    return flat


def _part(flat: Tensor, at: int, shape: tuple[int, ...]) -> Tensor:
    """Autograd adds into its gradient, and so into the flat one."""
    size = math.prod(shape)
    view = flat.detach()[at : at + size].view(shape).requires_grad_()
    assert flat.grad is not None
    view.grad = flat.grad[at : at + size].view(shape)
    return view
