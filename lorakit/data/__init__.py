"""CLIP's byte-pair table, by which SD1.5, SDXL and FLUX cut captions into tokens."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
MERGE_COUNT = (
    49152 - 256 - 2
)  # the file holds more; CLIP's vocabulary is 49,408 with 512 byte symbols and two marks


@cache
def clip_merges() -> tuple[tuple[str, str], ...]:
    """The merges of CLIP's tokeniser in order of rank: ("i", "n") first."""
    with gzip.open(HERE / "clip_bpe.txt.gz", "rt", encoding="utf-8") as file:
        next(file)  # a line with the version
        lines = (file.readline() for _ in range(MERGE_COUNT))
        return tuple((left, right) for left, right in (line.split() for line in lines))


def byte_symbols() -> dict[int, str]:
    """The printable sign that stands for each byte, in the order in which CLIP numbers them."""
    own = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in own]
    return {
        **{byte: chr(byte) for byte in own},
        **{byte: chr(256 + i) for i, byte in enumerate(others)},
    }


@cache
def clip_vocabulary() -> dict[str, int]:
    """Token to number, 49,408 of them: bytes, bytes that end a word, merges, start, end."""
    signs = list(byte_symbols().values())
    tokens = [
        *signs,
        *(sign + "</w>" for sign in signs),
        *(left + right for left, right in clip_merges()),
    ]
    return {
        token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])
    }
