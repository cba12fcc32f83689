"""CLIP's byte-pair table, by which SD1.5, SDXL and FLUX cut captions into tokens."""

import gzip
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
# The file holds more; CLIP has 49,408 tokens, 512 of them byte symbols, two of them marks.
MERGE_COUNT = 49408 - 512 - 2


@cache
def clip_merges() -> tuple[tuple[str, str], ...]:
    """The merges of CLIP's tokeniser in order of rank: ("i", "n") first."""
    with gzip.open(HERE / "clip_bpe.txt.gz", "rt", encoding="utf-8") as file:
        next(file)  # a line with the version
        lines = (file.readline() for _ in range(MERGE_COUNT))
        return tuple((left, right) for left, right in (line.split() for line in lines))


def byte_symbols() -> dict[int, str]:
    """The printable sign that stands for each byte, in the order in which CLIP numbers them."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    own += range(ord("®"), ord("ÿ") + 1)
    others = [byte for byte in range(256) if byte not in own]
    signs = [*own, *range(256, 256 + len(others))]
    return {byte: chr(sign) for byte, sign in zip([*own, *others], signs, strict=True)}


@cache
def clip_vocabulary() -> dict[str, int]:
    """Token to number, 49,408 of them: bytes, bytes that end a word, merges, start, end."""
    signs = list(byte_symbols().values())
    merged = (left + right for left, right in clip_merges())
    ends = (f"{sign}</w>" for sign in signs)
    tokens = [*signs, *ends, *merged, "<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}
