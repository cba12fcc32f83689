"""CLIP's tokeniser, small and exact: how many tokens a caption is, and whether a trigger is one of
CLIP's own words.

Equal to the tokeniser that the training scripts load, with the text cleaned as its helper ftfy
cleans ordinary text (composed characters, straight quotes, ligatures, full-width letters); ftfy's
guesses about wrongly decoded text are not repeated.
"""

import re
import unicodedata
from functools import cache, lru_cache
from itertools import pairwise

from lorakit.data import byte_symbols, clip_merges, clip_vocabulary

# CLIP numbers its tokens by frequency; its last thousands are names and noise such as sks
COMMON_BELOW = 40_000
LIMIT = 75  # what fits beside the start and end marks
CONTRACTIONS = ("'re", "'ve", "'ll", "'s", "'t", "'m", "'d")
MARKS = ("<|startoftext|>", "<|endoftext|>")
STRAIGHT = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛", "'"),
        **dict.fromkeys("“”„‟", '"'),
        **{sign: unicodedata.normalize("NFKC", sign) for sign in "ﬀﬁﬂﬃﬄﬆ"},
        "ﬅ": "ſt",
    }
)
SYMBOLS = byte_symbols()
MARK = re.compile(r"(<\|startoftext\|>|<\|endoftext\|>)")
CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]")


def common_word(text: str) -> bool:
    """One token that CLIP knows as a word, and whose meaning it brings along."""
    numbers = tokenize(text)
    return len(numbers) == 1 and text.isalpha() and numbers[0] < COMMON_BELOW


def count_tokens(text: str) -> int:
    """Without the two marks, so that 75 is a full prompt."""
    return len(tokenize(text))


def tokenize(text: str) -> list[int]:
    """The numbers of the tokens, without start and end."""
    vocabulary = clip_vocabulary()
    # the two marks count as themselves wherever they are
    pieces = (part for part in MARK.split(text) if part)
    return [
        vocabulary[token]
        for part in pieces
        for word in ([part] if part in MARKS else _words(_clean(part)))
        for token in _merged(word)
    ]


def _clean(text: str) -> str:
    wide = "".join(
        unicodedata.normalize("NFKC", c) if "\uff01" <= c <= "\uffef" or c == "\u3000" else c
        for c in text.translate(STRAIGHT)
    )
    composed = unicodedata.normalize("NFC", CONTROL.sub("", wide))
    return " ".join(composed.split()).lower()


def _words(text: str) -> list[str]:
    """Runs of letters, single digits, runs of other signs; English contractions apart."""
    words = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        end = next((at + len(piece) for piece in CONTRACTIONS if text.startswith(piece, at)), 0)
        if not end:
            kind = _kind(text[at])
            end = at + 1
            while kind != "N" and end < len(text) and _kind(text[end]) == kind:
                end += 1
        words.append(text[at:end])
        at = end
    return words


@lru_cache(4096)
def _kind(sign: str) -> str:
    """L letter, N digit or other number, space, or S for the rest."""
    if sign.isspace():
        return " "
    first = unicodedata.category(sign)[0]
    return first if first in "LN" else "S"


@cache
def _ranks() -> dict[tuple[str, str], int]:
    return {pair: rank for rank, pair in enumerate(clip_merges())}


@lru_cache(65_536)
def _merged(word: str) -> tuple[str, ...]:
    """Byte-pair merging: always the pair of the lowest rank first."""
    if word in MARKS:
        return (word,)
    parts = [SYMBOLS[byte] for byte in word.encode("utf-8", "replace")]
    parts[-1] += "</w>"
    ranks, worst = _ranks(), len(clip_merges())
    while len(parts) > 1:
        best = min(pairwise(parts), key=lambda pair: ranks.get(pair, worst))
        if best not in ranks:
            break
        joined: list[str] = []
        for part in parts:
            if joined and (joined[-1], part) == best:
                joined[-1] += part
            else:
                joined.append(part)
        parts = joined
    return tuple(parts)
