"""sd-scripts' own tagger, run by its Python over a folder of links, because it overwrites the
captions beside the images.
"""

import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lorakit.config import cache_dir
from lorakit.dataset.captions.edit import parts
from lorakit.dataset.captions.models import tagger_repository
from lorakit.dataset.captions.read import read_words
from lorakit.dataset.captions.tagger import TagChoice
from lorakit.errors import SetupError
from lorakit.proc import ask
from lorakit.trainers.kohya.locate import require

SCRIPT = "finetune/tag_images_by_wd14_tagger.py"
TIMEOUT_S = 24 * 3600


def tag(images: Sequence[Path], asked: str, choice: TagChoice) -> Mapping[Path, list[str]]:
    """Each image's tags in the script's own order, which is that of its tag list."""
    located = require()
    with tempfile.TemporaryDirectory(prefix="lorakit-tags-") as name:
        folder = Path(name)
        links = {folder / f"{number:06d}{path.suffix}": path for number, path in enumerate(images)}
        for link, path in links.items():
            link.symlink_to(path.resolve())
        argv = command(located.python, located.directory, folder, asked, choice)
        env = {**os.environ, "PYTHONPATH": str(located.directory), "PYTHONDONTWRITEBYTECODE": "1"}
        answer = ask(argv, cwd=located.directory, env=env, timeout_s=TIMEOUT_S)
        if answer.code:
            last = (answer.err.strip() or answer.out.strip()).splitlines()[-3:]
            what = "\n".join([*last, f"sd-scripts' tagger ended with {answer.code}."])
            raise SetupError(what, hint=f"The command was: {shlex.join(argv)}")
        return {path: _read(link.with_suffix(".txt")) for link, path in links.items()}


def command(python: Path, scripts: Path, folder: Path, asked: str, choice: TagChoice) -> list[str]:
    local = Path(asked).expanduser()
    place = (
        [f"--repo_id={local.name}", f"--model_dir={local.resolve().parent}"]
        if local.is_dir()
        else [f"--repo_id={tagger_repository(asked)[0]}", f"--model_dir={cache_dir() / 'wd14'}"]
    )
    character = 2.0 if choice.drop_characters else choice.character
    return [
        str(python),
        str(scripts / SCRIPT),
        str(folder),
        "--onnx",
        *place,
        "--batch_size=1",
        "--caption_extension=.txt",
        f"--general_threshold={choice.general:g}",
        f"--character_threshold={character:g}",
        *([] if choice.keep_underscores else ["--remove_underscore"]),
        *([f"--undesired_tags={','.join(sorted(choice.drop))}"] if choice.drop else []),
    ]


def _read(path: Path) -> list[str]:
    words = read_words(path)
    return parts(words.text) if words else []
