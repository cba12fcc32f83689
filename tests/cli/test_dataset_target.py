from __future__ import annotations

from pathlib import Path

import pytest

from lorakit.cli.terminal.dataset_target import read_target


@pytest.mark.parametrize(
    ("text", "extension"),
    [
        ("", ".txt"),
        ('caption_extension = ".caption"\n', ".caption"),
        ('caption_extension = "tags"\n', ".tags"),
        ('[train]\ncaption_extension = ".caption"\n', ".caption"),
    ],
)
def test_every_dataset_command_reads_the_captions_that_the_recipe_names(
    tmp_path: Path, text: str, extension: str
) -> None:
    (tmp_path / "data").mkdir()
    recipe = tmp_path / "maya.toml"
    recipe.write_text(
        f'family = "sd15"\ntrigger = "maya_char"\n[dataset]\npath = "data"\n{text}',
        encoding="utf-8",
    )
    assert read_target(str(recipe)).caption_extension == extension
    assert read_target(str(tmp_path / "data")).caption_extension == ".txt"
