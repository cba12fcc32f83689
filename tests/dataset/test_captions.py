from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorakit.dataset.captions import edit as captions
from lorakit.dataset.captions.edit import Change, History
from lorakit.dataset.captions.read import Words, caption_text, read_words, words_in
from lorakit.errors import RecipeError

words = st.lists(
    st.text("abc de", min_size=1, max_size=6).map(str.strip).filter(bool), max_size=6
).map(", ".join)


def test_the_trigger_is_moved_to_the_front_or_added_once() -> None:
    edit = captions.trigger_first("maya_char")
    assert edit("smiling, Maya_Char, red hat") == "maya_char, smiling, red hat"
    assert edit("smiling") == "maya_char, smiling"
    assert edit("") == "maya_char"


@given(words)
def test_every_edit_done_twice_is_the_edit_done_once(caption: str) -> None:
    for edit in (
        captions.trigger_first("t"),
        captions.add("x"),
        captions.remove("a"),
        captions.dedupe,
        captions.sort,
        captions.pattern("{trigger}, {shot}, {rest}", {"trigger": "t"}),
    ):
        assert edit(edit(caption)) == edit(caption)


def test_a_tag_is_added_behind_the_trigger_or_last() -> None:
    assert (
        captions.add("realistic_body", after_trigger="maya")("maya, waist")
        == "maya, realistic_body, waist"
    )
    assert (
        captions.add("realistic_body", after_trigger="maya")("waist") == "realistic_body, waist"
    ), "the trigger is still to come"
    assert captions.add("realistic_body")("maya, waist") == "maya, waist, realistic_body"
    assert captions.add("WAIST")("maya, waist") == "maya, waist"


def test_replace_touches_whole_words_only() -> None:
    assert captions.replace("cat", "fox")("cat, category, a cat.") == "fox, category, a fox."
    assert captions.replace("blurry", "")("blurry, cat") == "cat"


def test_a_pattern_puts_parts_in_their_places_and_drops_empty_ones() -> None:
    edit = captions.pattern(
        "{trigger}, {shot}, realistic_body, {rest}, {light}", {"trigger": "maya"}
    )
    assert (
        edit("soft lighting, smiling, full body, maya")
        == "maya, full body, realistic_body, smiling, soft lighting"
    )
    assert edit("smiling") == "maya, realistic_body, smiling"


def test_an_unknown_placeholder_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"Did you mean trigger\?"):
        captions.pattern("{triger}, {rest}", {})


def test_further_lines_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("smiling\nfrowning")
    assert captions.changes([(path, [captions.trigger_first("t")])]) == [
        Change(path, "smiling\nfrowning", "t, smiling\nfrowning")
    ]


def test_every_step_can_be_taken_back_in_turn(tmp_path: Path) -> None:
    (tmp_path / "10_t").mkdir()
    old, new = tmp_path / "10_t" / "a.txt", tmp_path / "10_t" / "b.txt"
    old.write_text("smiling\n")
    history = History(tmp_path)
    history.apply(
        "first",
        captions.changes(
            [(old, [captions.trigger_first("t")]), (new, [captions.trigger_first("t")])]
        ),
    )
    history.apply("second", captions.changes([(old, [captions.add("x")])]))
    assert old.read_text() == "t, smiling, x\n"
    assert history.undo()[:2] == ("second", 1)
    assert history.undo()[:2] == ("first", 2)
    assert old.read_text() == "smiling\n"
    assert not new.exists()
    with pytest.raises(RecipeError, match="no caption step is left"):
        history.undo()


def test_undo_leaves_what_a_person_edited_since(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("smiling\n")
    history = History(tmp_path)
    history.apply("first", captions.changes([(path, [captions.trigger_first("t")])]))
    path.write_text("t, laughing\n")
    _, count, faults = history.undo()
    assert (count, faults[0].rule, path.read_text()) == (0, "caption-edited", "t, laughing\n")


def test_a_history_cut_in_its_last_line_is_still_read(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.apply("first", [Change(tmp_path / "a.txt", None, "x")])
    with history.journal.path.open("a") as file:
        file.write('{"when": "2026')
    assert len(history.journal.read()) == 1
    history.apply("second", [Change(tmp_path / "a.txt", "x", "y")])
    assert [step["what"] for step in history.journal.read()] == ["first", "second"]


def test_a_caption_in_another_encoding_is_told_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("müde".encode("cp1252"))
    with pytest.raises(RecipeError, match=r"a\.txt: is not UTF-8"):
        caption_text(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            b"\xef\xbb\xbffox, sitting\r\nred\rblue\n",
            Words("fox, sitting\nred\nblue\n", "utf-8-sig"),
        ),
        ("fox, müde".encode("utf-16"), Words("fox, müde", "utf-16", "is UTF-16, not UTF-8.")),
        (b"", Words("")),
    ],
)
def test_there_is_one_idea_of_what_a_caption_file_says(
    tmp_path: Path, data: bytes, words: Words
) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    assert read_words(tmp_path / "a.txt") == words
    assert read_words(tmp_path / "b.txt") is None


def test_a_guessed_caption_says_where_it_stopped_being_utf8() -> None:
    words = words_in("fox, müde".encode("cp1252"))
    assert (words.text, words.encoding) == ("fox, müde", "cp1252")
    assert words.problem == "is not UTF-8: see byte 6 (near 'fox, müde' if it is Windows text)."
