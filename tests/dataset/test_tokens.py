from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from lorakit.data import clip_merges, clip_vocabulary
from lorakit.dataset.captions.tokens import count_tokens, tokenize

WORDS = [
    "maya_char",
    "ohwx",
    "woman",
    "Fox's",
    "don't",
    "we'LL",
    "café",
    "cafe\u0301",
    "東京",
    "１２３",
    "12.5cm",
    "“quoted”",
    "it’s",
    "ﬁne",
    "½",
    "Ⅷ",
    "a--b",
    "!!'s",
    "naïve",
    "🙂",
    "x²",
    "...",
    "(soft:1.2)",
    "<lora:x:1>",
    "ÀÉ",
    "straße",
    "\u00a0",
    "\t",
    "ـعربي",
    "हिन्दी",
    "1girl",
    "_",
    "e.g.",
    "<|endoftext|>",
]


def random_texts(count: int) -> list[str]:
    rng = random.Random(3)
    return [
        rng.choice([" ", ", ", ","]).join(rng.choices(WORDS, k=rng.randint(1, 12)))
        for _ in range(count)
    ]


def test_known_numbers() -> None:
    assert tokenize("a photo of a cat") == [320, 1125, 539, 320, 2368]
    assert tokenize("A  photo\nof a CAT") == [320, 1125, 539, 320, 2368]
    assert tokenize("don't") == [847, 713]
    assert tokenize("") == []
    assert tokenize("2024") == [273, 271, 273, 275]


def test_a_word_that_clip_knows_is_one_token_and_an_invented_one_is_several() -> None:
    assert [count_tokens(word) for word in ("woman", "Sage", "maya_char")] == [1, 1, 3]


def test_seventy_five_is_counted_without_the_two_marks() -> None:
    assert count_tokens("cat " * 75) == 75


def test_every_byte_has_tokens() -> None:
    assert all(tokenize(chr(code)) for code in (1234, 0x4E00, 0x1F642, ord("~")))
    assert max(max(tokenize(text), default=0) for text in random_texts(50)) < 49408


@pytest.mark.real
@pytest.mark.slow
def test_two_thousand_texts_give_the_real_tokenizers_numbers(
    sd_scripts: Path, tmp_path: Path
) -> None:
    from lorakit import config

    python = config.user_setting("sd_scripts_python")
    assert python is not None
    (tmp_path / "vocab.json").write_text(json.dumps(clip_vocabulary()), encoding="utf-8")
    (tmp_path / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(map(" ".join, clip_merges())), encoding="utf-8"
    )
    texts = random_texts(2000)
    done = subprocess.run(
        [python[0], str(Path(__file__).parent / "clip_answers.py")],
        input=json.dumps({"folder": str(tmp_path), "texts": texts}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for text, theirs in zip(texts, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert tokenize(text) == theirs, text
