"""What a plan foresees, and the run's record keeps of it."""

from dataclasses import dataclass

from lorakit.typed_json import Part


@dataclass(frozen=True)
class Checkpoint(Part):
    """A file (or state folder) that the run will write, named exactly as the script names it."""

    name: str = ""
    step: int = 0
    epoch: int = 0  # the epoch that has ended, or is running, when it is written
    kind: str = ""  # "epoch", "step", "final", "state"
    kept: bool = True  # False when save_last_n_* removes it again before the end


@dataclass(frozen=True)
class Estimate(Part):
    """What the run will need. Bytes; memory is a range because attention and allocators vary."""

    lora_bytes: int = 0
    state_bytes: int = 0
    cache_bytes: int = 0
    disk_bytes: int = 0  # peak of everything the run writes
    memory_low: int = 0
    memory_high: int = 0
    basis: str = ""  # where the memory figures come from, in one line
