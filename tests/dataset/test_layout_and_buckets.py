from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorakit.dataset.buckets import BucketRules, Chooser, UnfitError, check
from lorakit.dataset.facts import FORBIDDEN, FolderName, format_folder, parse_folder, repeats_said
from lorakit.errors import RecipeError


@pytest.mark.parametrize(
    ("name", "repeats", "tokens"),
    [
        ("10_a_b", 10, "a_b"),
        ("010_x", 10, "x"),
        ("+4_p", 4, "p"),
        (" 5_x", 5, "x"),
        ("5 _x", 5, "x"),
        ("３_x", 3, "x"),
        ("1_0_x", 1, "0_x"),
        ("7", 7, ""),
        ("8_", 8, ""),
        ("40_maya_char_realbody", 40, "maya_char_realbody"),
    ],
)
def test_names_are_read_as_kohya_reads_them(name: str, repeats: int, tokens: str) -> None:
    parsed = parse_folder(name)
    assert isinstance(parsed, FolderName)
    assert (parsed.repeats, parsed.class_tokens) == (repeats, tokens)
    assert bool(parsed.oddity) == (name not in {"10_a_b", "40_maya_char_realbody"})


@pytest.mark.parametrize(
    ("name", "silent"),
    [
        ("10-x", False),
        ("1e1_x", False),
        ("2.0_x", False),
        ("x_10", False),
        ("noscore", False),
        ("_3_x", False),
        (".10_x", False),
        ("0_x", True),
        ("-3_x", True),
    ],
)
def test_names_kohya_passes_over_and_whether_it_says_so(name: str, silent: bool) -> None:
    assert parse_folder(name) is None
    assert (repeats_said(name) is not None) == silent


@given(
    st.integers(1, 10**6),
    st.text(
        st.characters(exclude_characters=tuple(FORBIDDEN), exclude_categories=["Cs"]), max_size=20
    ),
)
def test_what_is_formatted_is_read_back(repeats: int, tokens: str) -> None:
    try:
        name = format_folder(repeats, tokens)
    except RecipeError:
        assert tokens != tokens.strip()
        return
    parsed = parse_folder(name)
    assert isinstance(parsed, FolderName)
    assert (parsed.repeats, parsed.class_tokens) == (repeats, tokens)


@pytest.mark.parametrize(
    ("repeats", "tokens"), [(0, "x"), (-1, "x"), (1, "a/b"), (1, "a\nb"), (1, " a"), (1, "a\0")]
)
def test_names_that_would_not_come_back_are_refused(repeats: int, tokens: str) -> None:
    with pytest.raises(RecipeError):
        format_folder(repeats, tokens)


def test_a_small_maximum_wastes_pixels_of_wide_images() -> None:
    assert Chooser(BucketRules((1024, 1024))).choose(1920, 1080).bucket == (1024, 576)
    assert Chooser(BucketRules((1024, 1024), max=2048)).choose(1920, 1080).bucket == (1344, 768)
    assert Chooser(BucketRules((1024, 1024))).choose(3000, 2000).bucket == (1024, 704)
    assert Chooser(BucketRules((1024, 1024), max=2048)).choose(3000, 2000).bucket == (1216, 832)


def test_a_placement_tells_its_crop_and_its_enlargement() -> None:
    placement = Chooser(BucketRules((512, 512), enable=False)).choose(1000, 500)
    assert (placement.bucket, placement.scaled) == ((512, 512), (1024, 512))
    assert placement.cropped == 0.5
    assert placement.scale(1000) == pytest.approx(1.024)


@pytest.mark.parametrize("size", [(63, 500), (500, 40), (0, 10), (20000, 1)])
def test_sizes_without_a_bucket_are_named_not_divided_by(size: tuple[int, int]) -> None:
    with pytest.raises(UnfitError, match=f"{size[0]}x{size[1]}"):
        Chooser(BucketRules((512, 512), no_upscale=True)).choose(*size)


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        (BucketRules((512, 512), min=640), "min_bucket_reso"),
        (BucketRules((1280, 1280)), "max_bucket_reso"),
        (BucketRules((512, 512), min=32), "rounded down to 0"),
        (BucketRules((512, 512), step=0), "bucket_reso_steps"),
        (BucketRules((0, 512)), "positive"),
        (BucketRules((1280, 1280), no_upscale=True), "max_bucket_reso"),
        (BucketRules((32, 32), min=0, step=64), "square"),
    ],
)
def test_rules_kohya_would_assert_about_are_told_in_words(rules: BucketRules, word: str) -> None:
    assert word in " ".join(check(rules))
    with pytest.raises(ValueError, match=word):
        Chooser(rules)


def test_rules_are_not_checked_when_buckets_are_off() -> None:
    assert check(BucketRules((2048, 2048), enable=False, step=0)) == []


@pytest.mark.parametrize(
    ("repeats", "tokens", "said"),
    [
        (0, "fox", "0 repeats: must be at least 1"),
        (1, "a/b", "because of '/'"),
        (1, " fox", "spaces at its ends"),
    ],
)
def test_a_folder_name_that_would_not_be_read_back_says_why(
    repeats: int, tokens: str, said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        format_folder(repeats, tokens)
