"""Training states on the disk, and which are intact: a power cut leaves half ones."""

from dataclasses import dataclass
from glob import escape
from pathlib import Path

from lorakit import json_text
from lorakit.catalogue.file_names import CheckpointName
from lorakit.weights.safetensors import HeaderError, read_header

COUNTER = "train_state.json"  # of kohya's scripts, and ours


@dataclass(frozen=True)
class State:
    path: Path
    step: int  # 0 where nothing says it
    fault: str = ""  # of an intact one nothing


def states_in(
    output_dir: Path, output_name: str, *, per_epoch: int, counted: bool = True
) -> list[State]:
    """Oldest step first: by the name where it has one, else its own counter."""
    found = [
        State(path, where_saved(path, output_name, per_epoch)[0], fault_of(path, counted=counted))
        for path in output_dir.glob(f"{escape(output_name)}*-state")
        if path.is_dir()
    ]
    return sorted(found, key=lambda state: (state.step, state.path.stat().st_mtime_ns))


def fault_of(state: Path, *, counted: bool = True) -> str:
    """Nothing for an intact state. One without a counter in it ends with the random states."""
    if not state.is_dir():
        return "does not exist"
    weights = sorted(state.glob("*.safetensors"))
    if not weights:
        return "holds no weights"
    for path in weights:
        try:
            read_header(path)
        except HeaderError as error:
            return f"{path.name} {error.fault}"
    for path in state.iterdir():
        if path.is_file() and path.stat().st_size == 0:
            return f"{path.name} is empty"
    if not any(path.name.startswith("optimizer") for path in state.iterdir()):
        return "holds no optimiser"
    # our own trainer needs none: its schedule is a function of the step
    ours = "identity" in json_text.table(state / COUNTER)
    if not ours and not any(path.name.startswith("scheduler") for path in state.iterdir()):
        return "holds no schedule"
    for path in state.glob("*.bin"):
        if not _intact_zip(path):
            return f"{path.name} is cut short"
    if not counted and not any(state.glob("random_states_*")):
        return "holds no random states"
    return "holds no step counter" if counted and counter_of(state) is None else ""


def counter_of(state: Path) -> int | None:
    count = json_text.table(state / COUNTER).get("current_step")
    return count if isinstance(count, int) else None


def where_saved(path: Path, output_name: str | None, per_epoch: int) -> tuple[int, int | None]:
    """Step and epoch of a state; 0 where neither its name nor a counter of its own says it."""
    counter, name = counter_of(path) or 0, CheckpointName.parse(path.name, output_name)
    if name and name.epoch is not None:
        return counter or name.epoch * per_epoch, name.epoch
    step = counter if name is None or name.step is None else name.step
    return step, step // per_epoch if per_epoch and step % per_epoch == 0 else None


def _intact_zip(path: Path) -> bool:
    """A zip's directory comes last, so a cut one has none. Other formats are believed."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return True
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 66_000))
        return b"PK\x05\x06" in file.read()
