"""What the rules know: of the recipe, and of each picture."""

from dataclasses import dataclass

from lorakit.dataset.buckets import CROP_LIMIT, BucketRules


@dataclass(frozen=True)
class CheckSettings:
    """A bare folder leaves most of it open, and those rules stay silent."""

    trigger: str = ""
    buckets: BucketRules | None = None
    exact_size: bool = False  # buckets off, latents not cached: all images have the resolution
    token_limit: int = 75  # 0: not counted (the family reads captions with another tokeniser)
    crop_limit: float = CROP_LIMIT  # share of the image that may be lost to the crop
    near_bits: int = 5  # dHashes that differ in at most this many bits are near-duplicates
    text: bool = False  # words inside the pictures are looked for
    off: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Look:
    """What decoding an image shows. Where that fails, `problem` is set and the rest is not."""

    problem: str = ""
    bomb: bool = False
    kind: str = ""  # true kind, whatever the name says
    mode: str = ""  # Pillow's: RGB, CMYK, I;16, ...
    width: int = 0
    height: int = 0
    bits: int = 8
    orientation: int = 1  # EXIF; 1 is upright
    animated: bool = False
    transparent: bool = False  # some pixel lets the background through
    grey: bool = False
    profile: str = ""  # the ICC profile's name unless sRGB; "corrupt" where it cannot be read
    odd_exif: bool = False  # EXIF that cannot be read
    border: str = ""  # edges with a plain band: "top, bottom"
    sharpness: float = 0  # variance of the Laplacian; below about 30 a photo looks blurred
    brightness: float = 0  # mean luminance, 0..1
    clipped: float = 0  # share of pixels that are pure black or white
    contrast: float = 0  # luminance between the 5th and the 95th percentile, 0..1
    noise: float = 0  # standard deviation of grain in the flattest parts, 0..255
    blocks: float = 1  # step across 8-pixel borders over the step elsewhere; 1 is none
    bars: float = 0  # share of the picture that plain bands along its edges take
    jpeg: int = 100  # quality that its quantisation tables stand for; 100 where there are none
    dhash: int = 0  # 64 bits, of the upright picture: a copy that was turned is still found
