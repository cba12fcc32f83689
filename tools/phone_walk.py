"""From an iPhone's photos to a trained LoRA, as one types it: python tools/phone_walk.py DIR

Draws HEIC "photos" of the demo's character (some held sideways, one a screenshot, one twice), then
runs lorakit's commands on them in DIR and prints what they say: docs/phone.md is that. The base is
the toy of `make demo`; needs lorakit[heic] and lorakit[train].
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "toy"))

from draw import CHARACTER_BACKGROUNDS, character_scene, draw  # noqa: E402

RECIPE = """family  = "sd15"
trainer = "embedded"
name    = "zwx"
trigger = "zwx"

[model]
base = "base"

[dataset]
path = "datasets/zwx"

[train]
network_module   = "networks.lora"
network_dim      = 16
network_alpha    = 16
learning_rate    = 5e-3
optimizer_type   = "AdamW"
resolution       = "64"
min_bucket_reso  = 64
enable_bucket    = true
cache_latents    = true
train_batch_size = 4
max_train_epochs = 4
mixed_precision  = "no"
seed             = 42
max_data_loader_n_workers = 0
"""
COMMANDS = (
    "lorakit dataset add recipes/zwx.toml phone --repeats 8",
    "lorakit dataset prepare recipes/zwx.toml --fit bucket",
    "lorakit dataset check recipes/zwx.toml",
    "lorakit dataset drop recipes/zwx.toml IMG_0013.jpg",
    "lorakit dataset caption recipes/zwx.toml --trigger-first --write",
    "lorakit dataset prepare recipes/zwx.toml",
    "lorakit dataset check recipes/zwx.toml --off border --off flat --off exposure",
    "lorakit plan recipes/zwx.toml",
    "lorakit train recipes/zwx.toml",
    "lorakit runs",
)


def photos(folder: Path) -> None:
    from pillow_heif import from_pillow

    folder.mkdir(parents=True)
    for number in range(1, 13):
        scene = character_scene(number, CHARACTER_BACKGROUNDS)
        picture = draw(scene, seed=number, side=1200)
        exif = Image.Exif()
        if number % 3 == 0:  # held sideways: stored so, and a mark says how to turn it
            picture, exif[0x0112] = picture.transpose(Image.Transpose.ROTATE_90), 6
        path = folder / f"IMG_{number:04}.HEIC"
        from_pillow(picture).save(str(path), quality=90, exif=exif.tobytes())
        path.with_suffix(".txt").write_text(scene.caption.replace("zwx", "").strip(" ,") + "\n")
    screen = Image.new("RGB", (900, 1600), "white")
    screen.paste(draw(character_scene(99, CHARACTER_BACKGROUNDS), seed=99, side=900), (0, 200))
    ImageDraw.Draw(screen).text((40, 40), "12:04", "black", font_size=48)
    screen.save(folder / "IMG_0013.PNG")
    shutil.copy(folder / "IMG_0001.HEIC", folder / "IMG_0001 2.HEIC")


def main() -> int:
    root = Path(sys.argv[1])
    photos(root / "phone")
    (root / "recipes").mkdir()
    (root / "recipes/zwx.toml").write_text(RECIPE)
    (root / "base").symlink_to(HERE.parent / "recipes/demo/base")
    return typed(COMMANDS, root)


def typed(commands: Iterable[str], root: Path) -> int:
    """Each line and what it says, until one fails that is no check."""
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    for line in commands:
        sys.stdout.write(f"$ {line}\n")
        words = [sys.executable, "-m", *shlex.split(line)]
        done = subprocess.run(  # noqa: PLW1510  (its code is returned)
            words, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        sys.stdout.write(done.stdout.replace(str(root.resolve()), ".") + "\n")
        sys.stdout.flush()
        if done.returncode and "check" not in words:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
