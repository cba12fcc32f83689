"""One batch as the device sees it: drawn, looked up and sent. What is computed from it asks the
host nothing more, so that it can be recorded and replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from lorakit.embedded.models import Conditioning


@dataclass(frozen=True)
class Inputs:
    latents: torch.Tensor
    white: torch.Tensor  # the noise
    mixed: torch.Tensor  # what is mixed into the latents: the noise, or slightly more of it
    t: torch.Tensor  # a timestep for every sample
    weights: torch.Tensor  # of the samples' losses
    share: torch.Tensor | None = None  # of noise, where matching a flow
    time_ids: torch.Tensor | None = None  # SDXL
    masks: torch.Tensor | None = None  # how much each place of the latents counts
    texts: Conditioning | None = None
    tokens: tuple[torch.Tensor, ...] = ()  # where a text encoder learns

    def tensors(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            parts = vars(value) if isinstance(value, Conditioning) else {"": value}
            if isinstance(value, tuple):
                parts = {str(place): part for place, part in enumerate(value)}
            named = {f"{field.name}.{key}": part for key, part in parts.items()}
            found |= {key: part for key, part in named.items() if part is not None}
        return found

    @property
    def shape(self) -> tuple[Any, ...]:
        """Equal for batches that one recording serves."""
        return tuple((key, tuple(x.shape), x.dtype) for key, x in self.tensors().items())

    @property
    def words(self) -> str:
        high, wide = self.latents.shape[-2:]
        length = f", {self.texts.hidden.shape[1]} tokens" if self.texts is not None else ""
        return f"latents of {wide}x{high}, batch {len(self.latents)}{length}"

    def copied(self) -> Inputs:
        return replace(
            self, **{field.name: _copied(getattr(self, field.name)) for field in fields(self)}
        )

    def overwrite(self, other: Inputs) -> None:
        for own, new in zip(self.tensors().values(), other.tensors().values(), strict=True):
            own.copy_(new)


def _copied(value: Any) -> Any:
    copy: Callable[[Any], Any] = lambda x: None if x is None else x.clone()  # noqa: E731
    if isinstance(value, Conditioning):
        return Conditioning(**{key: copy(part) for key, part in vars(value).items()})
    return tuple(map(copy, value)) if isinstance(value, tuple) else copy(value)
