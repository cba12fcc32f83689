"""Small JPEGs as data URLs, within a budget of count and bytes that is never exceeded."""

import base64
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lorakit.dataset.facts import is_film_name
from lorakit.pictures.open import TooLargeError, encoded, small_picture


@dataclass(frozen=True)
class Budget:
    side: int  # of the longer side, in pixels
    count: int
    size_bytes: int  # of all data URLs together
    quality: int = 74


@dataclass(frozen=True)
class Picture:
    """What the page shows for one file: a data URL, or why there is none."""

    url: str = ""
    width: int = 0
    height: int = 0
    fault: str = ""


def spread(count: int, most: int) -> list[int]:
    """Which of `count` things to take, `most` of them: evenly, the first and last always."""
    if count <= most:
        return list(range(count))
    if most < 2:
        return [count - 1][:most]
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def shrink(paths: Sequence[Path], budget: Budget) -> list[Picture]:
    """One a path, in order, until the bytes are spent; the rest come back empty, not faulty."""
    found: list[Picture] = []
    left = budget.size_bytes
    workers = min(4, os.cpu_count() or 1)
    batch = 4 * workers  # a few at a time: what the budget refuses is not made first
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(paths), batch):
            for picture in pool.map(_small, paths[start : start + batch], [budget] * batch):
                left -= len(picture.url)
                if left < 0:
                    return found + [Picture()] * (len(paths) - len(found))
                found.append(picture)
    return found


def _small(path: Path, budget: Budget) -> Picture:
    if is_film_name(path.name):
        return Picture(fault="a film, not shown")
    try:
        small = small_picture(path, budget.side)
        data = encoded(small, "JPEG", quality=budget.quality)
    except FileNotFoundError:
        return Picture(fault="no longer there")
    except TooLargeError:
        return Picture(fault="too large to be shown")
    except Exception:  # noqa: BLE001  (a broken file makes decoders raise anything)
        return Picture(fault="cannot be decoded")
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", *small.size)
