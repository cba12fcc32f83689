"""A close look at every image: decoded, measured, remembered until the file changes. Words
inside, watermarks among them, are read by PP-OCR, whose weights come with the package (RapidOCR,
Apache-2.0; the extra `text`).
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorakit.config import cache_dir
from lorakit.dataset.check.model import Look
from lorakit.dataset.rules import fault, shown
from lorakit.errors import Fault, SetupError
from lorakit.memo import Memo
from lorakit.pictures.open import TooLargeError, opened, orientation, small_picture, turned, why
from lorakit.pictures.pool import WorkerDied, spread

if TYPE_CHECKING:
    from PIL import Image

VERSION = 5  # of what a look holds; a change forgets all earlier ones
JPEG_50 = 3688  # the sum of the luminance table that everybody scales
USUAL = vars(Look())  # what an unremarkable picture shows is not stored
SIDE = 1024  # smaller letters than are seen at this size do not come back in what is drawn
SURE = 0.75  # below, it is a guess; how often that is right: tools/text_set.py
LETTERS = re.compile(r"\w{2}")
Line = tuple[str, float, float]  # what was read, how surely, on which share of the picture


def look(path: Path) -> Look:
    """Decode one image; says what is wrong instead of raising."""
    try:
        return _decoded(path)
    except TooLargeError as error:
        return Look(problem=str(error), bomb=True)
    except Exception as error:  # noqa: BLE001  (a broken file may raise anything in a decoder)
        return Look(problem=why(error))


def _decoded(path: Path) -> Look:
    import numpy as np

    from lorakit.dataset.check.measures import WORKING_SIDE, border, is_grey, measure

    with opened(path) as image:
        width, height = image.size
        is_jpeg, longest = image.format in {"JPEG", "MPO"}, max(image.size)
        if is_jpeg and longest > WORKING_SIDE:
            # every byte is still read and checked; only fewer pixels are made of them
            wide, high = (max(1, side * WORKING_SIDE // longest) for side in image.size)
            image.draft(image.mode, (wide, high))
        image.load()
        small = _small(image)
        pixels = np.asarray(small)
        turn, odd_exif = orientation(image)
        # phones hide a second picture in their JPEGs
        several = not is_jpeg and bool(getattr(image, "is_animated", False))
        return replace(
            measure(turned(small, turn)),
            kind="jpeg" if is_jpeg else (image.format or "").lower(),
            mode=image.mode,
            width=width,
            height=height,
            bits=_bits(path, image),
            orientation=turn,
            odd_exif=odd_exif,
            animated=several,
            transparent=is_transparent(image),
            grey=is_grey(pixels),
            profile=_profile(image),
            border=border(pixels),
            jpeg=_jpeg_quality(image) if is_jpeg else 100,
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
    if not tables.get(0):
        return 100
    scale = 100 * sum(tables[0]) / JPEG_50
    quality = 5000 / scale if scale > 100 else (200 - scale) / 2
    return max(1, min(100, round(quality)))


def _bits(path: Path, image: "Image.Image") -> int:
    if image.mode.startswith(("I", "F")):
        return 32 if image.mode in {"I", "F"} and image.format != "PNG" else 16
    if image.format == "PNG":
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


def open_reader() -> Any:
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        what = f"--text reads pictures with RapidOCR, and it is not installed ({error})."
        raise SetupError(what, hint='pip install "lorakit[text]" (Python 3.10 to 3.12)') from None
    return RapidOCR()


def text_faults(
    reader: Any, images: Sequence[Path], progress: Callable[[int, int], None]
) -> Iterator[Fault]:
    known = Memo(cache_dir() / "texts.json")
    try:
        for done, path in enumerate(images, 1):
            found = known.get(path)
            if found is None:
                found = read_lines(reader, path)
                known.put(path, found)
            progress(done, len(images))
            lines = [line for line in found if line[1] >= SURE and LETTERS.search(line[0])]
            if lines:
                text, sure, _ = max(lines, key=lambda line: line[1])
                share = sum(line[2] for line in lines)
                what = f'"{shown(text[:40])}" is read in it ({sure:.0%} sure),'
                what += f" {share:.1%} of the picture is writing."
                yield fault("text", path, what, "Crop it, or leave the picture out.")
    finally:
        known.save()


def read_lines(reader: Any, path: Path) -> list[Line]:
    import numpy as np

    small = small_picture(path, SIDE)
    lines, _ = reader(np.asarray(small)[:, :, ::-1].copy(), use_cls=False)  # blue first: OpenCV's
    area = small.width * small.height
    return [
        (str(text), round(float(sure), 3), round(float(np.ptp(box, axis=0).prod()) / area, 4))
        for box, text, sure in lines or ()
    ]
