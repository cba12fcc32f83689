"""A CLIP tokenizer small enough for the toy base: byte-pair merges in which every word of its
world is one token.

Words that it does not know fall into letters, as with CLIP's own; that is how a trigger such as zwx
reaches the text encoder.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from draw import ALL_PLACES, PLAIN_COLOURS, POSITIONS, SIZES
from figures import ALL_FIGURES, COLOURS

WORDS = sorted(
    {
        *COLOURS,
        *ALL_FIGURES,
        *ALL_PLACES,
        *PLAIN_COLOURS,
        *(w for w in (*POSITIONS, *SIZES) if w),
        "a",
        "an",
        "and",
        "on",
        "the",
        "background",
        "outlined",
        "small",
        "big",
        "with",
        "in",
        "of",
    }
)
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def byte_letters() -> list[str]:
    """The 256 printable letters that stand for bytes in GPT-2's and CLIP's vocabularies, in byte
    order.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Greedy byte-pair merges until every word is one piece."""
    pieces = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges = []
    while any(len(piece) > 1 for piece in pieces):
        pairs = Counter(pair for piece in pieces for pair in pairwise(piece))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = [merged(piece, best) for piece in pieces]
    return merges


def merged(piece: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    i = 0
    while i < len(piece):
        if tuple(piece[i : i + 2]) == pair:
            out.append("".join(pair))
            i += 2
        else:
            out.append(piece[i])
            i += 1
    return out


def write_tokenizer(folder: Path) -> None:
    """vocab.json, merges.txt and the two small configs, as in SD1.5's tokenizer folder."""
    folder.mkdir(parents=True, exist_ok=True)
    letters, merges = byte_letters(), learn_merges(WORDS)
    tokens = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *("".join(pair) for pair in merges),
        BEGIN,
        END,
    ]
    special = {"bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "do_lower_case": True,
        "errors": "replace",
        **special,
    }
    (folder / "vocab.json").write_text(
        json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False),
        encoding="utf-8",
    )
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8"
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config, indent=2) + "\n", encoding="utf-8"
    )
    (folder / "special_tokens_map.json").write_text(
        json.dumps(special, indent=2) + "\n", encoding="utf-8"
    )
