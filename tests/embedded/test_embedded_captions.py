"""Captions in kohya's order, and epochs as exact permutations."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lorakit.dataset.buckets import BucketRules, Chooser
from lorakit.embedded.data.batches import epoch_batches, process, share
from lorakit.embedded.data.dataset import Dataset, Image, _caption
from lorakit.embedded.data.dataset_config import Subset


def said(caption: str, seed: int = 0, **rules: Any) -> str:
    return process(
        caption,
        Subset(Path(), **rules),
        random.Random(seed),
        epoch=rules.pop("epoch", 1),
        step=0,
        total_steps=100,
    )


def test_prefix_and_suffix_come_first_and_a_dropped_caption_drops_them_too() -> None:
    assert said("a fox", caption_prefix="zwx", caption_suffix="photo") == "zwx a fox photo"
    assert said("a fox", caption_prefix="zwx", caption_dropout_rate=1.0) == ""
    assert said("a fox", caption_dropout_every_n_epochs=1) == ""


def test_only_the_first_line_counts_unless_wildcards_are_on() -> None:
    assert said("a fox\na dog") == "a fox"
    assert {said("a fox\na dog", seed, enable_wildcard=True) for seed in range(20)} == {
        "a fox",
        "a dog",
    }
    assert {said("a {red|grey} fox {{x}}", seed, enable_wildcard=True) for seed in range(20)} == {
        "a red fox {x}",
        "a grey fox {x}",
    }
    assert said("a {red|grey} fox") == "a {red|grey} fox"


def test_kept_tokens_stay_in_front_and_the_rest_is_shuffled() -> None:
    results = {
        said("zwx, a, b, c", seed, shuffle_caption=True, keep_tokens=1) for seed in range(50)
    }
    assert len(results) == 6
    assert all(result.startswith("zwx, ") for result in results)


def test_a_separator_marks_what_is_kept_on_both_sides_and_stays_literal_when_nothing_is_shuffled() -> (
    None
):
    results = {
        said("zwx, fox ||| a, b ||| end", seed, shuffle_caption=True, keep_tokens_separator="|||")
        for seed in range(30)
    }
    assert results == {"zwx, fox, a, b, end", "zwx, fox, b, a, end"}
    assert said("zwx ||| a", keep_tokens_separator="|||") == "zwx ||| a"


def test_tags_are_dropped_one_by_one_but_kept_ones_never() -> None:
    results = [
        said("zwx, a, b", seed, caption_tag_dropout_rate=0.5, keep_tokens=1) for seed in range(100)
    ]
    assert set(results) == {"zwx", "zwx, a", "zwx, b", "zwx, a, b"}


def test_parts_are_joined_with_a_comma_whatever_the_separator() -> None:
    assert said("a;b", shuffle_caption=True, caption_separator=";", keep_tokens=2) == "a, b"


def test_the_secondary_separator_becomes_the_separator_at_the_end() -> None:
    assert said("a;;;b, c", secondary_separator=";;;") == "a,b, c"


def test_warm_up_lets_tags_in_one_after_the_other() -> None:
    rules = Subset(Path(), token_warmup_step=10, token_warmup_min=1)
    counts = [
        len(
            process(
                "a, b, c, d, e", rules, random.Random(0), epoch=1, step=step, total_steps=100
            ).split(", ")
        )
        for step in range(11)
    ]
    assert counts == [1, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5]


def test_a_caption_is_the_files_first_line_without_its_mark_or_else_the_class_tokens(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.txt").write_text("\ufeff a fox \n\n a dog\n", encoding="utf-8")
    plain, wild = (
        Subset(tmp_path, 1, "fox", enable_wildcard=wildcard) for wildcard in (False, True)
    )
    assert _caption(tmp_path / "a.png", plain) == "a fox"
    assert _caption(tmp_path / "a.png", wild) == "a fox\na dog"
    assert _caption(tmp_path / "b.png", plain) == "fox"
    assert _caption(tmp_path / "b.png", Subset(tmp_path)) == ""


def dataset(sizes: list[tuple[int, int]], *, repeats: int = 3, batch_size: int = 2) -> Dataset:
    rules = BucketRules((128, 128), min=64, max=256)
    chooser = Chooser(rules)
    subset = Subset(Path("3_fox"), repeats, "fox", flip_aug=True)
    images = tuple(
        Image(Path(f"{index}.png"), subset, "fox", size, chooser.choose(*size), repeats)
        for index, size in enumerate(sizes)
    )
    return Dataset(batch_size, rules, (subset,), images)


@pytest.mark.parametrize("epoch", [1, 2, 7])
def test_every_epoch_sees_every_repeat_of_every_image_exactly_once(epoch: int) -> None:
    one = dataset([(128, 128)] * 5 + [(256, 64)] * 2)
    batches = epoch_batches([one, one], 7, epoch)
    drawn = Counter((draw.dataset, draw.index, draw.repeat) for batch in batches for draw in batch)
    assert len(drawn) == 2 * 7 * 3
    assert set(drawn.values()) == {1}
    assert len(batches) == 2 * (8 + 3)
    assert all(len({draw.image.bucket for draw in batch}) == 1 for batch in batches)


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    one = dataset([(128, 128)] * 6)
    assert epoch_batches([one], 7, 3) == epoch_batches([one], 7, 3)
    assert epoch_batches([one], 7, 3) != epoch_batches([one], 7, 4)
    assert epoch_batches([one], 8, 3) != epoch_batches([one], 7, 3)


def test_every_epoch_puts_other_images_together_and_the_batches_in_another_order() -> None:
    one = dataset([(128, 128)] * 6 + [(256, 64)] * 6, repeats=1)
    made = [
        [frozenset(draw.index for draw in batch) for batch in epoch_batches([one], 7, epoch)]
        for epoch in (1, 2)
    ]
    assert set(made[0]) != set(made[1])
    assert [min(batch) < 6 for batch in made[0]] not in (
        [True] * 3 + [False] * 3,
        [False] * 3 + [True] * 3,
    )


def test_processes_share_an_epoch_without_gaps_and_wrap_to_equal_lengths() -> None:
    batches = epoch_batches([dataset([(128, 128)] * 5, batch_size=3)], 1, 1)
    parts = [share(batches, rank, 3) for rank in range(3)]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert {batch for part in parts for batch in part} == set(batches)


def test_flips_are_decided_per_draw_and_stay_decided() -> None:
    draws = [draw for batch in epoch_batches([dataset([(128, 128)] * 20)], 7, 1) for draw in batch]
    flips = [draw.flipped(7) for draw in draws]
    assert flips == [draw.flipped(7) for draw in draws]
    assert 15 < sum(flips) < 45
