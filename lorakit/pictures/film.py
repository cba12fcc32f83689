"""The one door to films: PyAV, an extra that is imported here alone. Frames are counted by decoding
them, as trainers do, for what a container says of itself is often wrong or nothing.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from lorakit.config import cache_dir
from lorakit.memo import Memo
from lorakit.pictures.open import RefusedError
from lorakit.pictures.size import CutError

MOST = 10_000  # frames; seven minutes


class Film(NamedTuple):
    """The size is the frames' own: no trainer asks for a phone's turn, and `turned` says so."""

    width: int
    height: int
    frames: int
    fps: float
    turned: bool = False


def read_film(path: Path) -> Film:
    """Remembered until the file changes."""
    memo = Memo(cache_dir() / "films.json")
    known = memo.get(path)
    if known is None:
        if not find_spec("av"):
            raise RefusedError('films are read with PyAV: pip install "lorakit[video]"')
        known = _decoded(path)
        memo.put(path, known)
        memo.save()
    if isinstance(known, str):
        raise CutError(known)
    return Film(*known)


def _decoded(path: Path) -> Film | str:
    """What is in it, or why it cannot be used."""
    import av

    film, number = None, 0
    try:
        with av.open(str(path)) as container:
            rate = float(container.streams.video[0].average_rate or 0)
            for number, frame in enumerate(container.decode(video=0), start=1):
                film = film or Film(frame.width, frame.height, 0, rate, bool(frame.rotation))
                if number > MOST:
                    return f"more than {MOST:,} frames; cut it into clips"
    except Exception as error:  # noqa: BLE001  (a broken film raises whatever its decoder does)
        where = f"after frame {number}: " if number else ""
        return f"{where}{getattr(error, 'strerror', '') or error}"
    return film._replace(frames=number) if film else "no frames"
