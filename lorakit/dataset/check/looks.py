"""A close look at every image: decoded, measured, remembered until the file changes."""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorakit.config import cache_dir
from lorakit.dataset.check.model import Look
from lorakit.memo import Memo
from lorakit.pictures.open import TooLargeError, opened, orientation, turned, why
from lorakit.pictures.pool import WorkerDied, spread
from lorakit.pictures.size import PictureHeader, read_header

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

VERSION = 3  # of what a look holds; a change forgets all earlier ones
JPEG_50 = 3688  # the sum of the luminance table that everybody scales
USUAL = vars(Look())  # what an unremarkable picture shows is not stored
EDGES = ("top", "bottom", "left", "right")


def look(path: Path) -> Look:
    """Decode one image; says what is wrong instead of raising."""
    try:
        return _decoded(path, read_header(path))
    except TooLargeError as error:
        return Look(problem=str(error), bomb=True)
    except Exception as error:  # noqa: BLE001  (a broken file may raise anything in a decoder)
        return Look(problem=why(error))


def _decoded(path: Path, header: PictureHeader) -> Look:
    from lorakit.dataset.check.measures import WORKING_SIDE, measure

    with opened(path) as image:
        longest = max(image.size)
        if header.kind == "jpeg" and longest > WORKING_SIDE:
            # every byte is still read and checked; only fewer pixels are made of them
            wide, high = (max(1, side * WORKING_SIDE // longest) for side in image.size)
            image.draft(image.mode, (wide, high))
        image.load()
        small = _small(image)
        turn, odd_exif = orientation(image)
        # phones hide a second picture in their JPEGs
        several = header.kind != "jpeg" and bool(getattr(image, "is_animated", False))
        return replace(
            measure(turned(small, turn)),
            kind=header.kind,
            mode=image.mode,
            width=header.width,
            height=header.height,
            bits=_bits(path, header, image),
            orientation=turn,
            odd_exif=odd_exif,
            animated=several,
            transparent=is_transparent(image),
            grey=_is_grey(small),
            profile=_profile(image),
            border=_border(small),
            jpeg=_jpeg_quality(image),
        )


def _small(image: "Image.Image") -> "Image.Image":
    """RGB, at most about 1,500 pixels long, as kohya would see the colours."""
    factor = max(1, max(image.size) // 768)
    if factor > 1 and image.mode in {"RGB", "L", "RGBA", "CMYK", "LA"}:
        image = image.reduce(factor)
    return image if image.mode == "RGB" else image.convert("RGB")


def _jpeg_quality(image: "Image.Image") -> int:
    """By the usual scale, from 1 to 100: the tables' mean against those of quality 50."""
    tables: dict[int, list[int]] = getattr(image, "quantization", None) or {}
    if image.format not in {"JPEG", "MPO"} or not tables.get(0):
        return 100
    scale = 100 * sum(tables[0]) / JPEG_50
    quality = 5000 / scale if scale > 100 else (200 - scale) / 2
    return max(1, min(100, round(quality)))


def _bits(path: Path, header: PictureHeader, image: "Image.Image") -> int:
    if image.mode.startswith(("I", "F")):
        return 32 if image.mode in {"I", "F"} and header.kind != "png" else 16
    if header.kind == "png":
        with path.open("rb") as file:
            return max(8, file.read(25)[24])
    return 8


def is_transparent(image: "Image.Image") -> bool:
    """Whether some pixel is; an alpha channel of nothing but 255 does not count."""
    if image.mode not in {"RGBA", "LA", "PA", "La", "RGBa"}:
        if "transparency" not in image.info:
            return False
        image = image.convert("RGBA")
    low = image.getchannel("A" if "A" in image.getbands() else "a").getextrema()[0]
    return isinstance(low, (int, float)) and low < 255


def _is_grey(small: "Image.Image") -> bool:
    import numpy as np

    pixels = np.asarray(small, dtype=np.int16)[::4, ::4]
    total = pixels[:, :, 0] + pixels[:, :, 1] + pixels[:, :, 2]
    away = [np.abs(3 * pixels[:, :, channel] - total) for channel in range(3)]  # from their mean
    return bool((np.maximum(np.maximum(away[0], away[1]), away[2]) > 18).mean() < 0.002)


def _profile(image: "Image.Image") -> str:
    icc = image.info.get("icc_profile")
    if not icc:
        return ""
    from PIL import ImageCms

    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(icc))).strip()
    except Exception:  # noqa: BLE001  (a corrupt profile raises PyCMSError, OSError or struct errors)
        return "corrupt"
    if "srgb" in name.lower().replace(" ", "") or name in {"c2", "uRGB", "c2ci"}:
        return ""
    return name or "unnamed"


def _border(small: "Image.Image") -> str:
    """Edges with a band of one colour: letterboxes, frames, caption strips."""
    import numpy as np

    pixels = np.asarray(small, dtype=np.int16)
    if min(pixels.shape[:2]) < 80:
        return ""
    across, down = pixels[:, ::2], pixels[::2].swapaxes(0, 1)
    sides = (across, across[::-1], down, down[::-1])
    return ", ".join(edge for edge, lines in zip(EDGES, sides, strict=True) if _plain_band(lines))


def _plain_band(lines: "np.ndarray[Any, np.dtype[np.int16]]") -> bool:
    """The first fortieth of the lines holds one colour, and some later line does not."""
    band = lines[: max(2, -(-len(lines) // 40))]
    colour = band[0].mean(axis=0)
    off = abs(band - colour)
    plain = off.mean() < 1.5 and off.max() < 40
    return bool(plain and abs(lines[::8] - colour).max() >= 40)


def look_at(
    root: Path,
    paths: Iterable[Path],
    *,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[Path, Look]:
    """Every image looked at, unchanged ones from memory."""
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]
    memo = Memo(cache_dir() / "looks" / f"{name}-{VERSION}.json")
    found: dict[Path, Look] = {}
    fresh: list[Path] = []
    wanted = list(paths)
    for path in wanted:
        known = memo.get(path) if path.exists() else None
        if known is None:
            fresh.append(path)
        else:
            found[path] = Look(**known)
    for path, result in spread(look, fresh):
        found[path] = Look(problem=str(result)) if isinstance(result, WorkerDied) else result
        if path.exists():
            memo.put(path, {k: v for k, v in vars(found[path]).items() if v != USUAL[k]})
        progress(len(found), len(wanted))
    memo.save(forget_others=True)
    return found
