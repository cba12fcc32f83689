from __future__ import annotations

import pytest
import toml
from hypothesis import given
from hypothesis import strategies as some

from lorakit.errors import RecipeError
from lorakit.toml_text import proven, table_text, value_text

ODD = some.text(alphabet="\\\"'[]{}=#,abu0n \t", max_size=10)
ANY = some.text(alphabet=some.characters(exclude_categories=["Cs"]), max_size=10)


@given(some.one_of(ODD, ANY))
def test_a_text_is_read_back_intact_or_refused_never_changed(text: str) -> None:
    written = table_text({"a": text, "b": 1})
    try:
        proven("x.toml", written, {"a": text, "b": 1})
    except RecipeError:
        return
    assert toml.loads(written) == {"a": text, "b": 1}


@given(some.lists(some.one_of(ODD, ANY), min_size=1, max_size=3))
def test_a_list_of_texts_is_read_back_intact_or_refused(texts: list[str]) -> None:
    written = table_text({"a": texts, "b": 1})
    try:
        proven("x.toml", written, {"a": texts, "b": 1})
    except RecipeError:
        return
    assert toml.loads(written) == {"a": texts, "b": 1}


@pytest.mark.parametrize(
    "text",
    [
        'say "hi"',
        '"',
        "it's",
        "C:\\train\\new",
        "D:\\Users\\x",
        "a, (b:1.2), [c]",
        "# no comment",
        ", leading comma",
        "日本語 キツネ",
        "tab\there",
        "two\nlines",
        "\\",
        "back\\slash 'and' \"quotes\"",
        "betas=0.9,0.99",
        "conv_dim=4",
        "emoji 🦊",
        "ends with \\",
        "a = b",
    ],
)
def test_ordinary_oddities_all_survive_alone_and_in_lists(text: str) -> None:
    meant = {"a": text, "many": [text, "plain"], "last": True}
    assert toml.loads(proven("x.toml", table_text(meant), meant)) == meant


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1e-4, "0.0001"),
        (1e-5, "1e-05"),
        (16, "16"),
        (True, "true"),
        ([1e-5, 0], "[1e-05, 0.0]"),
        ([512, 768], "[512, 768]"),
        ("512,512", '"512,512"'),
        ([], "[]"),
    ],
)
def test_values_are_written_so_that_the_old_reader_takes_them(value: object, written: str) -> None:
    assert value_text(value) == written
    assert toml.loads(f"a = {written}")["a"] == value


def test_a_text_that_cannot_be_written_is_refused_with_its_key() -> None:
    meant = {"prompt": '""\'["\'['}
    with pytest.raises(RecipeError, match=r"prompts\.toml: .*prompt"):
        proven("prompts.toml", table_text(meant), meant)


def test_windows_paths_are_not_taken_for_tabs_and_newlines() -> None:
    assert toml.loads(table_text({"a": "D:\\train\\new"}))["a"] == "D:\\train\\new"
