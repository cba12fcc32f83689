"""Where T5's tokenizer.json is looked for, by the plan and by the embedded trainer alike."""

from __future__ import annotations

from pathlib import Path

from lorakit.families import FAMILIES
from lorakit.trainers.kohya.locate import HOME

T5_ID = FAMILIES["flux"].tokenizers[1]
NAME = T5_ID.replace("/", "_")  # the folder's name inside tokenizer_cache_dir
HINT = (
    f"Put the tokenizer.json of {T5_ID} beside the t5xxl file, or into TOKENIZER_CACHE_DIR/{NAME}."
)


def t5_places(cache_dir: str, t5_folder: Path, base: Path | None) -> list[Path]:
    """In order; `t5_folder` holds T5's weights, `base` is a model in diffusers form."""
    vendored = HOME.known()
    return [
        *([Path(cache_dir).expanduser() / NAME] if cache_dir else ()),
        *([base / "tokenizer_2"] if base else ()),
        t5_folder,
        t5_folder.parent / "tokenizer_2",
        *([vendored.directory / "configs" / "t5_old"] if vendored else ()),
    ]


def has_tokenizer(place: Path) -> bool:
    return (place / "tokenizer.json").is_file()
