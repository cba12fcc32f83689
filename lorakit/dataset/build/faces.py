"""Where the face is: an optional detector whose licence allows every use (MediaPipe, Apache-2.0),
or a plain message without it.

Its later versions come without a model and would have to fetch one; hence the upper bound in the
extra `face`.
"""

from functools import cache
from typing import Any

from PIL import Image

from lorakit.errors import SetupError

Box = tuple[float, float, float, float]  # left, top, right, bottom
SIDE = 1024  # more pixels find no more faces


def need_detector() -> None:
    """Say before any work begins what is missing."""
    try:
        _detector()
    except ImportError as error:
        what = f"--focus face needs a face detector, and there is none ({error})."
        hint = 'pip install "lorakit[face]" (MediaPipe; it needs numpy 1), or use --focus top.'
        raise SetupError(what, hint=hint) from None


def find_face(small: Image.Image) -> Box | None:
    """The largest face, in shares of the sides; None where none is found."""
    import numpy as np

    found = _detector().process(np.asarray(small)).detections or []
    boxes = [detection.location_data.relative_bounding_box for detection in found]
    if not boxes:
        return None
    best = max(boxes, key=lambda box: box.width * box.height)
    return (best.xmin, best.ymin, best.xmin + best.width, best.ymin + best.height)


@cache
def _detector() -> Any:
    """One for each process. Model 1 is the one for faces up to five metres away."""
    from mediapipe.python.solutions import face_detection

    return face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.5)
