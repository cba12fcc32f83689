"""Where the face is: an optional detector whose licence allows every use (MediaPipe, Apache-2.0), or a plain message without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorakit.errors import SetupError

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[float, float, float, float]      # left, top, right, bottom
SIDE = 1024                                  # more pixels find no more faces


def need_detector() -> None:
    """Say before any work begins what is missing."""
    try:
        from mediapipe.python.solutions import face_detection  # noqa: F401
    except ImportError:
        raise SetupError(
            "--focus face needs a face detector, and none is installed.",
            hint='pip install "mediapipe<0.10.22" (Apache-2.0, runs on the CPU), or use --focus top, or crop by hand.',
        ) from None


def find_face(image: Image.Image) -> Box | None:
    """The largest face, in shares of the sides; None where none is found."""
    import numpy as np
    from mediapipe.python.solutions import face_detection

    image.thumbnail((SIDE, SIDE))
    with face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.5) as detector:
        found = detector.process(np.asarray(image)).detections or []
    boxes = [detection.location_data.relative_bounding_box for detection in found]
    if not boxes:
        return None
    best = max(boxes, key=lambda box: box.width * box.height)
    return (best.xmin, best.ymin, best.xmin + best.width, best.ymin + best.height)
