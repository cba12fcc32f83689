"""One picture made ready: upright, sRGB, eight bits, bare, fitted, encoded. Never enlarged."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageCms, ImageColor

from lorakit.dataset.buckets import BucketRules, Chooser, UnfitError, check
from lorakit.pictures.open import (
    RefusedError,
    decoded,
    encoded,
    opened,
    orientation,
    small_picture,
    turned,
)

Fit = Literal["bucket", "letterbox", "crop", "none"]
Focus = Literal["centre", "top", "face"]
Box = tuple[float, float, float, float]  # left, top, right, bottom, in the upright source
Size = tuple[int, int]

ALGORITHM = 1  # part of the settings: a change makes everything again
# a JPEG is decoded at no less than this many times the wanted size: above 40 dB against the full
# decode
HEADROOM = 1.6
THUMB = 288
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


@dataclass(frozen=True)
class Settings:
    """Everything that decides what comes out; kept with each file, so that a change is noticed."""

    fit: Fit = "bucket"
    size: Size = (1024, 1024)
    background: str = "#ffffff"
    focus: Focus = "centre"
    format: str = "jpeg"
    quality: int = 95
    rules: BucketRules = BucketRules((1024, 1024), max=2048)  # noqa: RUF009  (frozen)
    algorithm: int = ALGORITHM
    crop: Box | None = None  # by hand, in shares of the upright picture's sides

    def as_data(self) -> dict[str, Any]:
        """As JSON gives it back."""
        data = asdict(self)
        data["size"], data["rules"]["resolution"] = list(self.size), list(self.rules.resolution)
        crop = data.pop("crop")
        return data | ({"crop": list(crop)} if crop else {})


NEEDLESS = {  # what each fit does not ask for
    "bucket": {"size", "focus"},
    "letterbox": {"rules", "focus"},
    "crop": {"rules"},
    "none": {"rules", "size", "focus"},
}


def essential(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of settings as data, those on which the picture depends."""
    needless = NEEDLESS.get(settings.get("fit", ""), set())
    needless = needless | ({"quality"} if settings.get("format") == "png" else set())
    return {key: value for key, value in settings.items() if key not in needless}


@dataclass(frozen=True)
class Geometry:
    """Of an upright source: what is kept, how large that becomes, and the canvas around it."""

    size: Size
    box: Box
    scaled: Size
    canvas: Size


@dataclass(frozen=True)
class Rendered:
    data: bytes
    thumb: bytes
    geometry: Geometry
    faceless: bool = False  # a face was wanted as the centre, and none was found


def plan_fit(source: Size, settings: Settings, face: Box | None = None) -> Geometry:
    """Pure arithmetic. Sizes are only ever reduced."""
    if settings.crop:
        return _within(source, settings)
    width, height = source
    uncut: Box = (0, 0, width, height)
    if settings.fit == "letterbox":
        scale = min(1.0, settings.size[0] / width, settings.size[1] / height)
        return Geometry(source, uncut, _at_least_1(width * scale, height * scale), settings.size)
    if settings.fit == "crop":
        box = _window(source, settings, face)
        kept = (box[2] - box[0], box[3] - box[1])
        done = settings.size if kept[0] >= settings.size[0] else _at_least_1(*kept)
        return Geometry(source, box, done, done)
    if settings.fit == "bucket":
        return _bucketed(source, settings.rules)
    return Geometry(source, uncut, source, source)


def _within(source: Size, settings: Settings) -> Geometry:
    """What was cropped by hand is fitted as if it were the whole picture."""
    left, top, right, bottom = _in_pixels(settings.crop or (0, 0, 1, 1), source)
    inner = plan_fit(_at_least_1(right - left, bottom - top), replace(settings, crop=None))
    x, y = (right - left) / inner.size[0], (bottom - top) / inner.size[1]
    box = inner.box
    kept = (left + box[0] * x, top + box[1] * y, left + box[2] * x, top + box[3] * y)
    return Geometry(source, kept, inner.scaled, inner.canvas)


def _in_pixels(shares: Box, size: Size) -> Box:
    left, top, right, bottom = shares
    return left * size[0], top * size[1], right * size[0], bottom * size[1]


def _at_least_1(width: float, height: float) -> Size:
    return max(1, round(width)), max(1, round(height))


def _bucketed(source: Size, rules: BucketRules) -> Geometry:
    """The scale and centre crop that kohya would do, once and better; nothing is enlarged."""
    width, height = source
    try:
        placement = Chooser(rules).choose(width, height)
    except UnfitError as error:
        raise RefusedError(str(error)) from error
    scaled, bucket = placement.scaled, placement.bucket
    if scaled[0] > width or scaled[1] > height:
        return Geometry(source, (0, 0, width, height), source, source)
    left, top = ((scaled[i] - bucket[i]) // 2 for i in (0, 1))
    x, y = width / scaled[0], height / scaled[1]
    box = (left * x, top * y, (left + bucket[0]) * x, (top + bucket[1]) * y)
    return Geometry(source, box, bucket, bucket)


def _window(source: Size, settings: Settings, face: Box | None) -> Box:
    """The largest window of the wanted shape; a face fills about 60 per cent of its height."""
    width, height = source
    ratio = settings.size[0] / settings.size[1]
    wide = min(width, height * ratio)
    x, y = width / 2, height / 2
    if face:
        wide = min(wide, (face[3] - face[1]) / 0.6 * ratio)
        x, y = (face[0] + face[2]) / 2, (face[1] + face[3]) / 2
    high = wide / ratio
    top = 0.0 if settings.focus == "top" and not face else y - high / 2
    left, top = max(0.0, min(x - wide / 2, width - wide)), max(0.0, min(top, height - high))
    return (left, top, left + wide, top + high)


def render(path: Path, settings: Settings) -> Rendered:
    """Raises RefusedError with a reason, or whatever a broken file makes the decoder raise."""
    with opened(path) as image:
        turn, _ = orientation(image)
        stored = image.size
        source = (stored[1], stored[0]) if turn >= 5 else stored
        wanted = settings.focus == "face" and settings.fit == "crop"
        face = _face(path, source) if wanted else None
        geometry = plan_fit(source, settings, face)
        if image.format in {"JPEG", "MPO"}:
            least = HEADROOM * max(
                geometry.scaled[i] / (geometry.box[i + 2] - geometry.box[i]) for i in (0, 1)
            )
            image.draft(
                image.mode, (int(stored[0] * min(1, least)), int(stored[1] * min(1, least)))
            )
        with decoded(image):
            profile = image.info.get("icc_profile")
            upright = turned(eight_bits(image), turn)
            fitted = _cut(upright, geometry)
            done = on_ground(to_srgb(fitted, profile), geometry.canvas, settings.background)
            # thumbnail() shrinks in place
            small = upright.copy() if fitted is upright else upright
            small.thumbnail((THUMB, THUMB), Image.Resampling.BILINEAR, reducing_gap=2)
            thumb = on_ground(to_srgb(small, profile), small.size, settings.background)
            data = _bare(done, settings.format, settings.quality)
    faceless = wanted and face is None
    return Rendered(data, _bare(thumb, "jpeg", 80), geometry, faceless)


def _cut(image: Image.Image, geometry: Geometry) -> Image.Image:
    """The box, scaled; `image` may be smaller than the source the box was measured in."""
    if geometry.scaled == image.size == geometry.size:  # nothing is cut and nothing shrinks
        return image
    x, y = image.width / geometry.size[0], image.height / geometry.size[1]
    left, top, right, bottom = geometry.box
    box = (left * x, top * y, min(right * x, image.width), min(bottom * y, image.height))
    return image.resize(geometry.scaled, 1, box=box)  # 1: Lanczos


def _face(path: Path, source: Size) -> Box | None:
    """In pixels of the upright source; sought in a smaller decode of it."""
    from lorakit.dataset.build.faces import SIDE, find_face

    found = find_face(small_picture(path, SIDE, upright=True))
    return found and _in_pixels(found, source)


def eight_bits(image: Image.Image) -> Image.Image:
    """RGB, RGBA or CMYK, whatever the file held; 16-bit values are scaled, not clipped."""
    if image.mode in {"RGB", "RGBA", "CMYK"} and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(image)
    if image.mode in {"LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    import numpy as np

    values = np.array(image, dtype=np.float32)  # worked on in place: such pictures are large
    top = float(values.max(initial=0))
    full = 1.0 if image.mode == "F" and top <= 1 else 255.0 if top <= 255 else max(65535.0, top)
    values *= 255 / full
    np.rint(values.clip(0, 255, out=values), out=values)
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Through the embedded profile where there is a usable one; RGB or RGBA comes back."""
    wanted = "RGBA" if image.mode == "RGBA" else "RGB"
    needed = "CMYK" if image.mode == "CMYK" else "RGB"
    if profile:
        try:
            embedded = ImageCms.ImageCmsProfile(BytesIO(profile))
            other = "sRGB" not in ImageCms.getProfileDescription(embedded)
            if embedded.profile.xcolor_space.strip() == needed and other:
                srgb = ImageCms.createProfile("sRGB")
                return ImageCms.profileToProfile(image, embedded, srgb, outputMode=wanted) or image
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a corrupt profile is no profile
    return image if image.mode == wanted else image.convert(wanted)


def on_ground(image: Image.Image, size: Size, background: str) -> Image.Image:
    """In the middle of a canvas, on which transparency lies, too."""
    if image.mode == "RGB" and image.size == size:
        return image
    ground = Image.new("RGB", size, background)
    corner = ((size[0] - image.width) // 2, (size[1] - image.height) // 2)
    ground.paste(image, corner, image if image.mode == "RGBA" else None)
    return ground


def _bare(image: Image.Image, kind: str, quality: int) -> bytes:
    how = {
        "jpeg": {"quality": quality, "subsampling": 0 if quality >= 90 else 2},
        "png": {"compress_level": 4},
        "webp": {"quality": quality, "method": 4, "exact": True},
    }
    # Pillow would write profile, EXIF, comments and resolution back from here
    image.info = {}
    return encoded(image, kind, **how[kind])


def settings_problems(settings: Settings) -> list[str]:
    """What is wrong with settings as they were given."""
    wide, high = settings.size
    problems = []
    try:
        ImageColor.getrgb(settings.background)
    except ValueError:
        what = f"background {settings.background!r} is not a valid colour"
        problems.append(f"{what}; write white or #ffffff")
    if settings.format not in SUFFIXES:
        problems.append(f"format {settings.format!r} is none of {', '.join(SUFFIXES)}")
    if not 1 <= settings.quality <= 100:
        problems.append(f"quality {settings.quality} is not between 1 and 100")
    if min(wide, high) < 1 or max(wide, high) > 8192:
        problems.append(f"size {wide}x{high} is not between 1 and 8192")
    return problems + (check(settings.rules) if settings.fit == "bucket" else [])
