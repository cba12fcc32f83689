"""CLIP's tokeniser, small and exact: how many tokens a caption is, and whether a trigger is one of
CLIP's own words.

Equal to the tokeniser that the training scripts load, with the text cleaned as its helper ftfy
cleans ordinary text (composed characters, straight quotes, ligatures, full-width letters); ftfy's
guesses about wrongly decoded text are not repeated.
"""

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from lorakit.data import clip_bpe, clip_merges, clip_vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# CLIP numbers its tokens by frequency; its last thousands are names and noise such as sks
COMMON_BELOW = 40_000
LIMIT = 75  # what fits beside the start and end marks
STRAIGHT = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛", "'"),
        **dict.fromkeys("“”„‟", '"'),
        **{sign: unicodedata.normalize("NFKC", sign) for sign in "ﬀﬁﬂﬃﬄﬆ"},
        "ﬅ": "ſt",
    }
)
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
    wide = "".join(
        unicodedata.normalize("NFKC", c) if "\uff01" <= c <= "\uffef" or c == "\u3000" else c
        for c in text.translate(STRAIGHT)
    )
    return list(_bpe().encode(CONTROL.sub("", wide)).ids)


@cache
def _bpe() -> "Tokenizer":
    return clip_bpe(clip_vocabulary(), clip_merges())
