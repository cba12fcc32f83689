"""Go from `new` to `deploy` with nothing but the commands that lorakit prints, and write down what
was said.

    python tools/walk.py              rewrites docs/walk.md: a minute on two cores
    python tools/walk.py --guides     rewrites docs/guide-walks.md: two minutes
    python tools/walk.py --show       prints the page instead

Two walks, each in a folder of its own that is deleted afterwards: with the embedded trainer on the
toy base of this repository, and with the kohya trainer, for which a small program in tests/fakes
reads the files and says the lines that sd-scripts would. A recipe at toy size lies in the folder,
as a friend's would; four pictures are drawn. What a person adds on the way: the folder's name for
PHOTOS, and Ctrl-C on the review's page.

--guides types the commands of tools/guide_walks.toml instead, each guide in a folder of its own:
with hundreds of drawn pictures, and stand-ins for ai-toolkit and musubi-tuner, because the real
ones want a card.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE / "tests")]

from drawings import drawing  # noqa: E402  (the tool runs from a plain checkout of ours)
from plan_cases import weights  # noqa: E402

from lorakit import tomllib  # noqa: E402
from lorakit.files import write_atomic  # noqa: E402

PAGE = HERE / "docs" / "walk.md"
GUIDES_PAGE = HERE / "docs" / "guide-walks.md"
NEXT = re.compile(r"^Next: (lorakit .*)$", re.MULTILINE)
FIRST = ("new", "ada", "--like", "zed", "--trigger", "ada_char")
LONGEST = 15  # commands; then the way leads in a circle
WAYS = {
    "embedded": "On the toy base, with the embedded trainer",
    "kohya": "With the kohya trainer, on a stand-in for sd-scripts",
}
HEAD = """\
# A walk from `new` to `deploy`

Every command below but the first was printed by the one before it, after `Next:`. Written by
`python tools/walk.py`; `tests/cli/test_next_step.py` walks again and holds this page to the order
of the commands. Two things are a person's: the folder's name in place of PHOTOS, and Ctrl-C when
the review is done. The recipe that `ada` is made like, `zed`, trains two steps at 64 x 64.
"""
SHOWN = 36  # lines of one answer
SHOTS = ("close-up", "half body", "full body")
LIGHTS = ("window light", "soft light", "noon", "studio light", "evening sun", "candlelight")
POSES = ("standing", "sitting", "walking", "looking left", "looking right", "leaning", "reading")
RECIPE = """
family  = "sd15"
trainer = "{trainer}"
name    = "zed"
trigger = "zwx"
[model]
base = "recipes/demo/base"
[dataset]
path = "datasets/zed"
[train]
network_dim = 4
network_alpha = 4
learning_rate = 1e-3
resolution = "64"
enable_bucket = false
max_train_steps = 2
save_precision = "fp16"
mixed_precision = "no"
max_data_loader_n_workers = 0
cache_latents = true
train_batch_size = 2
seed = 42
[sample]
prompts = ["{{trigger}}, sea"]
every_n_steps = 2
width = 64
height = 64
steps = 2
[launch]
num_cpu_threads = 1
"""


@dataclass(frozen=True)
class Walked:
    """One command and what it said."""

    words: tuple[str, ...]
    said: str

    @property
    def command(self) -> str:
        return shlex.join(["lorakit", *self.words])

    @property
    def name(self) -> str:
        return " ".join(self.words[: 2 if self.words[0] == "dataset" else 1])


def next_of(text: str) -> str:
    """The one command that is named, without the remark behind it."""
    found = NEXT.findall(text)
    if len(found) > 1:
        raise ValueError(f"more than one next command:\n{text}")
    return shlex.join(shlex.split(found[0], comments=True)) if found else ""


def photos(place: Path, count: int = 4, size: tuple[int, int] = (640, 480)) -> Path:
    place.mkdir(parents=True)
    for number in range(count):
        drawing(size, number).save(place / f"p{number}.jpg")
    return place


def described(place: Path) -> None:
    """Captions as a tagger leaves them, no two alike."""
    for number, picture in enumerate(sorted(place.iterdir())):
        words = (SHOTS[number % 3], POSES[number % 7], LIGHTS[number // 3 % 6], f"view {number}")
        picture.with_suffix(".txt").write_text(", ".join(words), encoding="utf-8")


def make_project(project: Path, trainer: str) -> None:
    """A friend's recipe, the toy base, and a folder of pictures."""
    (project / "recipes").mkdir(parents=True)
    (project / "recipes" / "zed.toml").write_text(RECIPE.format(trainer=trainer))
    shutil.copytree(HERE / "recipes" / "demo", project / "recipes" / "demo")


def environment(project: Path) -> dict[str, str]:
    """Nobody's home and nobody's installations; sd-scripts is the stand-in."""
    home = project.parent / "home"
    home.mkdir(exist_ok=True)
    ours = {name: text for name, text in os.environ.items() if not name.startswith("XDG_")}
    return {
        **ours,
        "HOME": str(home),
        "PYTHONPATH": str(HERE),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
        "LORAKIT_SD_SCRIPTS": str(HERE / "tests" / "fakes" / "sd_scripts"),
        "LORAKIT_SD_SCRIPTS_PYTHON": sys.executable,
    }


def stand_ins(project: Path) -> dict[str, str]:
    """ai-toolkit and musubi-tuner at home, and weights by the names that the presets propose."""
    home, models, fakes = project.parent / "home", project / "models", HERE / "tests" / "fakes"
    (home / "ai-toolkit" / "toolkit").mkdir(parents=True)
    (home / "ai-toolkit" / "toolkit" / "config_modules.py").touch()
    shutil.copy(fakes / "ai_toolkit_run.py", home / "ai-toolkit" / "run.py")
    shutil.copytree(fakes / "musubi_tuner", home / "musubi-tuner")
    shutil.copy(fakes / "saying.py", home / "saying.py")
    python = home / "python"  # no virtual environment, so nobody looks for packages in it
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    for name, kind in (
        ("FLUX.1-dev", "FluxPipeline"),
        ("Qwen-Image", "QwenImagePipeline"),
        ("Wan2.2-T2V-A14B-Diffusers-bf16", "WanPipeline"),
    ):
        (models / name).mkdir(parents=True)
        index = json.dumps({"_class_name": kind})
        (models / name / "model_index.json").write_text(index, encoding="utf-8")
    for name in ("high_noise_14B_fp16", "low_noise_14B_fp16"):
        layer = {"blocks.0.cross_attn.k.weight": ("F16", (4, 4))}
        weights(models / f"wan2.2_t2v_{name}.safetensors", layer)
    for name in ("wan_2.1_vae", "umt5-xxl-enc-bf16"):
        weights(models / f"{name}.safetensors", {"layer.weight": ("BF16", (4, 4))})
    return {
        "LORAKIT_AI_TOOLKIT": str(home / "ai-toolkit"),
        "LORAKIT_AI_TOOLKIT_PYTHON": str(python),
        "LORAKIT_MUSUBI": str(home / "musubi-tuner"),
        "LORAKIT_MUSUBI_PYTHON": str(python),
    }


def follow(project: Path, guide: Mapping[str, Any]) -> Iterator[Walked]:
    """Type a guide's commands, in a project with its pictures and our example recipes."""
    shutil.copytree(HERE / "recipes", project / "recipes", ignore=shutil.ignore_patterns("demo*"))
    for own in ("maya", "portrait-best54"):  # the guide makes these
        (project / "recipes" / f"{own}.toml").unlink()
    for name, count in guide["photos"].items():
        described(photos(project / "photos" / name, count, (1152, 896)))
    for name, text in guide.get("files", {}).items():
        (project / name).write_text(text, encoding="utf-8")
    (project / "ComfyUI" / "models" / "loras").mkdir(parents=True)
    env = {**environment(project), **stand_ins(project)}
    for line in guide["commands"].splitlines():
        words = tuple(shlex.split(line)[1:])
        yield Walked(words, said_to(project, env, words))


def walk(project: Path, first: tuple[str, ...] = FIRST) -> Iterator[Walked]:
    """Follow the printed commands from `first` until none is printed."""
    photos(project / "photos")
    env, words, count = environment(project), list(first), 0
    while words:
        said = said_to(project, env, words)
        yield Walked(tuple(words), said)
        count += 1
        if count == LONGEST:
            raise RuntimeError(f"still walking after {count} commands, at {next_of(said)}")
        words = shlex.split(next_of(said).replace("PHOTOS", "photos"))[1:]
        if words[:2] == ["dataset", "review"]:
            words.append("--no-browser")


def said_to(project: Path, env: Mapping[str, str], words: Sequence[str]) -> str:
    """What one command said, which must end well."""
    child = subprocess.Popen(
        [sys.executable, "-m", "lorakit", *words],
        cwd=project,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said = ""
    if tuple(words[:2]) == ("dataset", "review"):
        assert child.stdout
        said = child.stdout.readline()  # the address: the page is up
        child.send_signal(signal.SIGINT)
    said += child.communicate(timeout=300)[0]
    if child.returncode:
        raise RuntimeError(f"{shlex.join(words)} ended with {child.returncode}:\n{said}")
    return said


def section(trainer: str, project: Path) -> str:
    make_project(project, trainer)
    return transcript(WAYS[trainer], "", walk(project), project)


def guide_section(guide: Mapping[str, Any], project: Path) -> str:
    return transcript(guide["title"], guide["says"], follow(project, guide), project)


def transcript(title: str, says: str, walked: Iterable[Walked], project: Path) -> str:
    lines = [f"\n## {title}\n{says}"]
    for one in walked:
        said = shortened(neutral(one.said, project).strip("\n")) if says else one.said
        said = neutral(said, project).strip("\n")
        lines.append(f"```text\n$ {neutral(one.command, project)}\n{said}\n```\n")
    return "\n".join(lines)


def shortened(said: str) -> str:
    lines = said.splitlines()
    left = len(lines) - SHOWN
    middle = [f"... {left} lines ..."]
    half = SHOWN // 2
    return "\n".join([*lines[:half], *middle, *lines[-half:]] if left > 0 else lines)


def neutral(text: str, project: Path) -> str:
    """Without what belongs to this machine and this hour."""
    for place, name in (
        (project, "/home/ada/loras"),
        (project.parent / "home", "~"),
        (HERE, "/home/ada/lorakit"),
        (Path(sys.prefix), "/home/ada/lorakit/.venv"),
    ):
        text = text.replace(str(place.resolve()), name).replace(str(place), name)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8000", text)
    text = re.sub(r"\d{8}(-?)\d{6}", r"20260101\g<1>120000", text)
    text = re.sub(r"(\?|token=)[\w-]{16,}", r"\1...", text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def commands_of(page: str) -> list[list[str]]:
    """The commands of each walk on a page, in order."""
    return [
        re.findall(r"^\$ (lorakit .*)$", part, flags=re.MULTILINE) for part in page.split("\n## ")
    ][1:]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--show", action="store_true", help="print the page, write nothing")
    parser.add_argument("--guides", action="store_true", help="guides 3 and 4")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="lorakit-walk-") as name:
        places = (Path(name) / str(number) / "loras" for number in range(9))
        if asked.guides:
            data = tomllib.read(Path(__file__).with_name("guide_walks.toml"))
            parts = [guide_section(*one) for one in zip(data["guide"], places, strict=False)]
        else:
            parts = [section(*one) for one in zip(WAYS, places, strict=False)]
    head = data["head"] if asked.guides else HEAD
    page = "\n".join([head.rstrip("\n"), *(part.rstrip("\n") for part in parts), ""])
    if asked.show:
        print(page)
    else:
        write_atomic(GUIDES_PAGE if asked.guides else PAGE, page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
