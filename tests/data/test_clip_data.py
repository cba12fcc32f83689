"""CLIP's byte-pair table as it ships with the package."""

from __future__ import annotations

from lorakit.data import byte_symbols, clip_merges, clip_vocabulary


def test_the_vocabulary_numbers_tokens_as_clip_does() -> None:
    vocabulary = clip_vocabulary()
    assert len(vocabulary) == 49408
    assert {
        token: vocabulary[token]
        for token in ("!", "a</w>", "cat</w>", "<|startoftext|>", "<|endoftext|>")
    } == {"!": 0, "a</w>": 320, "cat</w>": 2368, "<|startoftext|>": 49406, "<|endoftext|>": 49407}


def test_merges_come_in_order_of_rank_and_every_byte_has_a_sign() -> None:
    merges = clip_merges()
    assert merges[:2] == (("i", "n"), ("t", "h"))
    assert len(merges) == 48894
    assert len(set(byte_symbols().values())) == 256
