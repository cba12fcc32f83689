"""Words inside pictures, watermarks among them: read by PP-OCR, whose weights come with the package
(RapidOCR, Apache-2.0; the extra `text`), and remembered per picture.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lorakit.config import cache_dir
from lorakit.dataset.rules import fault, shown
from lorakit.errors import Fault, SetupError
from lorakit.memo import Memo
from lorakit.pictures.open import small_picture

SIDE = 1024  # smaller letters than are seen at this size do not come back in what is drawn
SURE = 0.75  # below, it is a guess; how often that is right: tools/text_set.py
LETTERS = re.compile(r"\w{2}")
Line = tuple[str, float, float]  # what was read, how surely, on which share of the picture


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
