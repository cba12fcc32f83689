"""What musubi-tuner cuts out of a film: where each piece begins and how long it is. Pure."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

WAN_RATE = 16.0  # frames a second that Wan makes, whatever it has seen
STEP = 4  # a model of latents has one frame for the first, and one for every four behind it


@dataclass(frozen=True)
class FilmRules:
    """Named as musubi-tuner's words for a dataset; what is not said is its own default."""

    target_frames: tuple[int, ...] = ()
    frame_extraction: str = "head"
    frame_stride: int = 1
    frame_sample: int = 1
    max_frames: int = 129
    source_fps: float | None = None

    @classmethod
    def said(cls, words: Mapping[str, Any]) -> "FilmRules":
        own = {one.name: words[one.name] for one in fields(cls) if words.get(one.name)}
        if "target_frames" in own:
            own["target_frames"] = tuple(sorted({*own["target_frames"]}))
        return cls(**own)

    def problem(self) -> tuple[str, str]:
        """Of the lengths, and what is right."""
        for one in self.target_frames:
            if one < 1 or rounded(one) != one:
                right = max(1, rounded(one + STEP // 2 - 1))
                return f"{one} is not 4N+1, which is what Wan makes.", f"Write {right}."
        if self.target_frames or self.frame_extraction == "full":
            return "", ""
        what = "is not set: of each film one frame alone would be trained."
        return what, "Write target_frames = [33], two seconds, or what fits into memory."

    def pieces(self, frames: int) -> list[tuple[int, int]]:
        """Start and length; a piece that comes twice has one cache and is trained once."""
        there = self._taken(frames)
        if self.frame_extraction == "full":
            return [(0, rounded(min(there, self.max_frames)))] if there else []
        fitting = [length for length in self.target_frames if 0 < length <= there]
        return list(dict.fromkeys((at, one) for one in fitting for at in self._starts(there, one)))

    def _starts(self, there: int, length: int) -> Iterator[int]:
        last = there - length
        match self.frame_extraction:
            case "chunk":
                yield from range(0, last + 1, length)
            case "slide":
                yield from range(0, last + 1, self.frame_stride)
            case "uniform" if self.frame_sample > 1:
                gap = last / (self.frame_sample - 1)
                yield from (math.floor(number * gap) for number in range(self.frame_sample - 1))
                yield last
            case _:
                yield 0

    def _taken(self, frames: int) -> int:
        """After those that are left out to come from source_fps to Wan's rate."""
        head = self.frame_extraction == "head" or (
            self.frame_extraction == "uniform" and self.frame_sample == 1
        )
        end = max(self.target_frames, default=0) if head else math.inf
        if self.source_fps is None:
            return int(min(frames, end))
        taken, at, last = 0, 0.0, -1
        for _ in range(frames):
            now, at = int(at), at + WAN_RATE / self.source_fps
            if now >= end:
                break
            taken, last = taken + (now != last), now
        return taken


def rounded(frames: int) -> int:
    """Down to 4N+1."""
    return (frames - 1) // STEP * STEP + 1
