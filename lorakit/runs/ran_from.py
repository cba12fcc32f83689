"""The parts of a record that are known before the launch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lorakit.plan.foreseen import Checkpoint
from lorakit.typed_json import Part, rare


@dataclass(frozen=True)
class RanOn(Part):
    system: str = ""
    arch: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    gpus: tuple[str, ...] = ()
    node: str = ""
    python: str = ""


@dataclass(frozen=True)
class TrainerUsed(Part):
    name: str = ""
    script: str | None = None
    commit: str | None = None
    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MachineRank(Part):
    rank: int = 0
    of: int = 1


@dataclass(frozen=True)
class CommandRun(Part):
    name: str = ""
    argv: tuple[str, ...] = ()
    state: str = rare("")
    text: str = rare("")


@dataclass(frozen=True)
class StepCounts(Part):
    total: int = 0
    epochs: int | None = None
    per_epoch: int = 0
    accumulation: int = 0
    batches_per_process: int = 0
    processes: int = 0
    batch_size: int = 0
    formula: str = ""
    checkpoints: tuple[Checkpoint, ...] = ()

    def end_of(self, epoch: int) -> int:
        """The last epoch may be short."""
        return min(epoch * self.per_epoch, self.total)


@dataclass(frozen=True)
class SubsetUsed(Part):
    path: str = ""
    repeats: int = 0
    class_tokens: str | None = None
    is_reg: bool = False
    images: int = 0
    captioned: int = 0


@dataclass(frozen=True)
class DatasetUsed(Part):
    root: str = ""
    images: int = 0
    subsets: tuple[SubsetUsed, ...] = ()
    digest: str | None = None
    files: str = rare("")


@dataclass(frozen=True)
class WeightUsed(Part):
    key: str = ""
    option: str = ""
    asked: str = ""
    path: str = ""
    reference: str = ""
    sha256: str | None = None
    short: str | None = None
    size_bytes: int | None = rare(None)
