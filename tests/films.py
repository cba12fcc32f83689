"""Films for tests: small, moving, true. Where PyAV is not installed, a file that lorakit remembers having read."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lorakit.config import cache_dir
from lorakit.memo import Memo

CODECS = {".mp4": "libx264", ".webm": "libvpx", ".mov": "mpeg4", ".mkv": "ffv1", ".avi": "mpeg4"}


def film(
    path: Path, frames: int, *, fps: int = 16, size: tuple[int, int] = (128, 96), caption: str = "fox, runs"
) -> Path:  # fmt: skip
    """With its caption beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    if find_spec("av"):
        _encoded(path, frames, fps, size)
        return path
    path.write_bytes(b"a film of %d frames" % frames)
    memo = Memo(cache_dir() / "films.json")
    memo.put(path, [*size, frames, float(fps), False])
    memo.save()
    return path


def _encoded(path: Path, frames: int, fps: int, size: tuple[int, int]) -> None:
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix.lower()], rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            picture = np.full((size[1], size[0], 3), 90, np.uint8)
            at = 4 * number % (size[0] - 16)
            picture[16:48, at : at + 16] = (250, 120, 20)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
