"""Albums taken over as they lie, as one types it: python tools/album_walk.py DIR

Draws albums as other programs leave them (a flat folder of ai-toolkit's, an N_trigger folder, the
folders of kohya's GUI, musubi-tuner's with a cache), takes each over with one command, and compares
every name, byte and time in them afterwards: docs/albums.md is what it prints.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "toy")]

from draw import CHARACTER_BACKGROUNDS, character_scene, draw  # noqa: E402
from phone_walk import typed  # noqa: E402

ALBUMS = {  # where the pictures are, and how their captions call the character
    "toolkit": ("toolkit", "[trigger]"),
    "named": ("named/20_zwx", "zwx"),
    "gui": ("gui/img/30_zwx", "zwx"),
    "musubi": ("musubi", "zwx"),
}
CACHES = (
    "toolkit/_latent_cache/photo-01_a1b2.safetensors",
    "musubi_cache/photo-01_wan.safetensors",
)
TOOLKIT = """job: extension
config:
  name: zwx_flux
  process:
    - type: sd_trainer
      trigger_word: zwx
      network: {type: lora, linear: 16, linear_alpha: 16}
      datasets:
        - {folder_path: toolkit, caption_ext: txt, resolution: [512], num_repeats: 5}
      train: {steps: 2000, lr: 1e-4}
      model: {name_or_path: black-forest-labs/FLUX.1-dev, arch: flux}
"""


def lay_out(root: Path) -> None:
    for place, called in ALBUMS.values():
        (root / place).mkdir(parents=True)
        for number in range(1, 13):
            scene = character_scene(number, CHARACTER_BACKGROUNDS)
            path = root / place / f"photo-{number:02}.png"
            draw(scene, seed=number, side=1024).save(path)
            path.with_suffix(".txt").write_text(scene.caption.replace("zwx", called) + "\n")
    (root / "gui/log").mkdir()
    (root / "gui/reg/1_thing").mkdir(parents=True)
    draw(character_scene(40, CHARACTER_BACKGROUNDS), seed=40, side=1024).save(
        root / "gui/reg/1_thing/class-01.png"
    )
    for cache in CACHES:
        (root / cache).parent.mkdir()
        (root / cache).write_bytes(b"another program's")
    (root / "aitk.yaml").write_text(TOOLKIT)


def state(root: Path) -> dict[str, tuple[int, str]]:
    """Every name, time and byte; folders too, whose times tell of what came and went in them."""
    found = {}
    for path in (one for album in (*ALBUMS, "musubi_cache") for one in (root / album).rglob("*")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(root))] = (path.stat().st_mtime_ns, digest)
    return found


def main() -> int:
    root = Path(sys.argv[1])
    lay_out(root)
    before = state(root)
    for album in ALBUMS:
        recipe = f"recipes/{album}.toml"
        new = f"lorakit new {album} --preset flux --album {album}"
        commands = [
            new if ALBUMS[album][0] != album else f"{new} --trigger zwx",
            f"lorakit dataset check {recipe} --off border --off flat --off exposure",
            f"lorakit dataset layout {recipe}",
        ]
        if code := typed(commands, root):
            return code
    if code := typed(
        ["lorakit import aitk.yaml", "lorakit dataset layout recipes/zwx_flux.toml"], root
    ):
        return code
    same = state(root) == before
    sys.stdout.write(
        f"{len(before)} names in the albums, {'all' if same else 'NOT all'} as before.\n"
    )
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
