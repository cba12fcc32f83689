"""Every key of a TOML file is found on its line, and a file that cannot be read says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorakit.errors import RecipeError
from lorakit.recipe.document import key_lines, read_document

PAGE = '''# a comment with [brackets] and = signs
name = "x"
text = """
[not a table]
key = 1
"""
list = [
  "a",   # ] not the end
  "b",
]
[train]
lr = 1e-4
inner = { a = 1, b = [1, 2] }
"quoted key" = 'it''s'
a.b = 2
[dataset.subset."40_maya_char"]
class_tokens = "maya"
[[stage]]
name = "one"
[stage.train]
lr = 2
[[stage]]
name = "two"
[stage.train]
lr = 3
'''.replace("'it''s'", "'its'")


def test_every_key_is_found_on_its_line() -> None:
    lines = key_lines(PAGE)
    wanted = {
        ("name",): "name =",
        ("text",): "text =",
        ("list",): "list =",
        ("train",): "[train]",
        ("train", "lr"): "lr = 1e-4",
        ("train", "inner"): "inner",
        ("train", "quoted key"): '"quoted',
        ("train", "a", "b"): "a.b",
        ("dataset", "subset", "40_maya_char", "class_tokens"): "class_tokens",
        ("stage", "0", "name"): 'name = "one"',
        ("stage", "0", "train", "lr"): "lr = 2",
        ("stage", "1", "name"): 'name = "two"',
        ("stage", "1", "train", "lr"): "lr = 3",
    }
    rows = PAGE.splitlines()
    for path, start in wanted.items():
        assert rows[lines[path] - 1].startswith(start), path
    assert ("not a table",) not in lines
    assert ("key",) not in lines


def test_a_key_inside_an_inline_table_is_found_where_the_table_stands(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[launch]\nenv = { A = 1 }\n", encoding="utf-8")
    assert read_document(file, "x.toml").source("launch", "env", "A") == "x.toml:2"


def test_a_byte_order_mark_and_windows_line_ends_are_no_trouble(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b'\xef\xbb\xbfname = "x"\r\n[train]\r\nlr = 1\r\n')
    document = read_document(file, "x.toml")
    assert document.data["name"] == "x"
    assert document.source("train", "lr") == "x.toml:3"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (b"a = 1\na = 2\n", "x.toml"),
        (b"[train]\nlr = .5\n", "x.toml:2:"),
        (b"[train\n", "x.toml:1:"),
        (b'path = "C:\\Users"\n', "x.toml:1:"),
        (b'name = "\xff"\n', "byte 8 is not UTF-8"),
    ],
)
def test_what_is_not_toml_says_where(tmp_path: Path, text: bytes, where: str) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(text)
    with pytest.raises(RecipeError) as caught:
        read_document(file, "x.toml")
    assert where in str(caught.value)


def test_backslashes_in_a_path_get_a_hint(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('base = "C:\\Models\\x.safetensors"\n', encoding="utf-8")
    with pytest.raises(RecipeError, match="backslashes|single quotes"):
        read_document(file, "x.toml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = " + "[" * 5000 + "]" * 5000, "Brackets are nested too deeply."),
        ("a = " + "9" * 5000, "A number has thousands of digits."),
    ],
)
def test_what_the_reader_itself_cannot_bear_is_a_fault_like_any_other(
    tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as raised:
        read_document(file, "x.toml")
    assert raised.value.faults[0].what == told


def test_a_list_of_tables_stands_where_its_first_table_does() -> None:
    assert key_lines("[train]\n[[stage]]\n[[stage]]\n")["stage",] == 2
