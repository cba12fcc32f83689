"""CLIP's byte-pair table, by which SD1.5, SDXL and FLUX cut captions into tokens."""

import gzip
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HERE = Path(__file__).parent
# The file holds more; CLIP has 49,408 tokens, 512 of them byte symbols, two of them marks.
MERGE_COUNT = 49408 - 512 - 2
START, END = MARKS = ("<|startoftext|>", "<|endoftext|>")
WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


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
    tokens = [*signs, *ends, *merged, *MARKS]
    return {token: number for number, token in enumerate(tokens)}


def clip_bpe(vocabulary: Mapping[str, int], merges: Iterable[tuple[str, str]]) -> "Tokenizer":
    """What cuts a text as CLIP does: without start, end and padding, the marks as themselves."""
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    bpe = Tokenizer(
        BPE(
            dict(vocabulary),
            list(merges),
            unk_token=END,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
        )
    )
    bpe.add_special_tokens(list(MARKS))
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return bpe
