"""kohya's file names, read and written: LoRA files, states, sample pictures. Our own trainer uses
the same, and one more: NAME-best. ai-toolkit's LoRA files are NAME_000000249, where it counts from
0, and of a model with two experts NAME_000000249_high_noise.

    CheckpointName.parse("maya-step00000040-state")      maya, step 40, a state
    str(CheckpointName("maya").at_epoch(4))              maya-000004.safetensors
    SampleName.parse(path.name, stem="maya")             None where the picture is not maya's

Give `parse` the run's output name as `stem` where it is known: a run may be called maya-000004.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

SUFFIX = ".safetensors"  # the other kinds are refused
EXPERTS = ("high_noise", "low_noise")  # of Wan 2.2, by ai-toolkit: a file of each
_CHECKPOINT = re.compile(
    r"(?P<stem>.*?)(?:-(?P<epoch>\d{6,})|-step(?P<step>\d{8,})|-(?P<best>best)|_(?P<index>\d{9}))?"
    rf"(?:_(?P<part>{'|'.join(EXPERTS)}))?"
    r"(?P<end>\.safetensors|-state)",
    re.DOTALL,
)
# ai-toolkit's, in milliseconds and with its own count of steps: 1764316800123__000000250_0.png
_NUMBERED = re.compile(r"(?P<time>\d{13})__(?P<step>\d{9})_(?P<prompt>\d+)\.png")
_SAMPLE = re.compile(
    r"(?P<stem>.*)_(?P<unit>e?)(?P<count>\d{6,})_(?P<prompt>\d{2,})_(?P<time>\d{14})"
    r"(?:_(?P<seed>-?(?:0|[1-9]\d*)))?(?P<end>(?:_\d{3})?\.(?:png|mp4))",
    re.DOTALL,
)


@dataclass(frozen=True)
class CheckpointName:
    """A LoRA file or the folder of a training state; without epoch and step the last one."""

    stem: str
    epoch: int | None = None
    step: int | None = None
    best: bool = False
    state: bool = False
    from_zero: bool = False  # ai-toolkit: the file says one step less than there were
    part: str = ""  # one of EXPERTS: one of the files of a save

    @classmethod
    def parse(cls, name: str, stem: str | None = None) -> "CheckpointName | None":
        if stem is not None:
            if not name.startswith(stem):
                return None
            name = name[len(stem) :]
        match = _CHECKPOINT.fullmatch(name)
        if match is None or (stem is not None and match["stem"]):
            return None
        epoch, step, index = match["epoch"], match["step"], match["index"]
        return cls(
            match["stem"] if stem is None else stem,
            int(epoch) if epoch else None,
            int(step) if step else int(index) + 1 if index else None,
            bool(match["best"]),
            match["end"] == "-state",
            bool(index or match["part"]),
            match["part"] or "",
        )

    def __str__(self) -> str:
        mark = ""
        if self.step is not None:
            mark = f"_{self.step - 1:09d}" if self.from_zero else f"-step{self.step:08d}"
        elif self.epoch is not None:
            mark = f"-{self.epoch:06d}"
        elif self.best:
            mark = "-best"
        part = f"_{self.part}" if self.part else ""
        return f"{self.stem}{mark}{part}{'-state' if self.state else SUFFIX}"

    @property
    def kind(self) -> str:
        """What made it due."""
        if self.step is not None:
            return "step"
        return "epoch" if self.epoch is not None else "best" if self.best else "final"

    def at_step(self, step: int) -> "CheckpointName":
        return replace(self, step=step, epoch=None, best=False)

    def at_epoch(self, epoch: int) -> "CheckpointName":
        return replace(self, epoch=epoch, step=None, best=False)

    def as_state(self) -> "CheckpointName":
        return replace(self, state=True)


def samples_in(output: Path) -> list[Path]:
    """What was drawn on the way, films too."""
    drawn = (path for path in (output / "sample").glob("*") if path.suffix in {".png", ".mp4"})
    return sorted(drawn)


@dataclass(frozen=True)
class SampleName:
    """A picture drawn after an epoch or after a step."""

    stem: str
    prompt: int  # counted from 0
    time: str  # 20260101120000
    epoch: int | None = None
    step: int | None = None
    seed: int | None = None
    end: str = ".png"  # musubi-tuner's: _000.png, and .mp4 for a film

    @classmethod
    def parse(cls, name: str, stem: str | None = None) -> "SampleName | None":
        if theirs := _NUMBERED.fullmatch(name):
            return cls(stem or "", int(theirs["prompt"]), theirs["time"], step=int(theirs["step"]))
        match = _SAMPLE.fullmatch(name)
        if match is None or (stem is not None and match["stem"] != stem):
            return None
        count, by_epoch = int(match["count"]), bool(match["unit"])
        return cls(
            match["stem"],
            int(match["prompt"]),
            match["time"],
            epoch=count if by_epoch else None,
            step=None if by_epoch else count,
            seed=int(match["seed"]) if match["seed"] else None,
            end=match["end"],
        )

    def __str__(self) -> str:
        mark = f"{self.step:06d}" if self.epoch is None else f"e{self.epoch:06d}"
        seed = "" if self.seed is None else f"_{self.seed}"
        return f"{self.stem}_{mark}_{self.prompt:02d}_{self.time}{seed}{self.end}"
