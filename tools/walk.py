"""Go from `new` to `deploy` with nothing but the commands that lorakit prints, and write down what
was said.

    python tools/walk.py              rewrites docs/walk.md: a minute on two cores
    python tools/walk.py --show       prints it instead

Two walks, each in a folder of its own that is deleted afterwards: with the embedded trainer on the
toy base of this repository, and with the kohya trainer, for which a small program in tests/fakes
reads the files and says the lines that sd-scripts would. A recipe at toy size lies in the folder,
as a friend's would; four pictures are drawn. What a person adds on the way: the folder's name for
PHOTOS, and Ctrl-C on the review's page.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE / "tests")]

from drawings import drawing  # noqa: E402  (the tool runs from a plain checkout of ours)

from lorakit.files import write_atomic  # noqa: E402

PAGE = HERE / "docs" / "walk.md"
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


def photos(place: Path, count: int = 4) -> Path:
    place.mkdir()
    for number in range(count):
        drawing((640, 480), number).save(place / f"p{number}.jpg")
    return place


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


def walk(project: Path, first: tuple[str, ...] = FIRST) -> Iterator[Walked]:
    """Follow the printed commands from `first` until none is printed."""
    photos(project / "photos")
    env, words, count = environment(project), list(first), 0
    while words:
        child = subprocess.Popen(
            [sys.executable, "-m", "lorakit", *words],
            cwd=project,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said = ""
        if words[:2] == ["dataset", "review"]:
            assert child.stdout
            said = child.stdout.readline()  # the address: the page is up
            child.send_signal(signal.SIGINT)
        said += child.communicate(timeout=300)[0]
        if child.returncode:
            raise RuntimeError(f"{shlex.join(words)} ended with {child.returncode}:\n{said}")
        yield Walked(tuple(words), said)
        count += 1
        if count == LONGEST:
            raise RuntimeError(f"still walking after {count} commands, at {next_of(said)}")
        words = shlex.split(next_of(said).replace("PHOTOS", "photos"))[1:]
        if words[:2] == ["dataset", "review"]:
            words.append("--no-browser")


def section(trainer: str, project: Path) -> str:
    make_project(project, trainer)
    lines = [f"\n## {WAYS[trainer]}\n"]
    for one in walk(project):
        said = neutral(one.said, project).strip("\n")
        lines.append(f"```text\n$ {neutral(one.command, project)}\n{said}\n```\n")
    return "\n".join(lines)


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
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="lorakit-walk-") as name:
        parts = [section(trainer, Path(name) / trainer / "loras") for trainer in WAYS]
    page = "\n".join([HEAD.rstrip("\n"), *(part.rstrip("\n") for part in parts), ""])
    if asked.show:
        print(page)
    else:
        write_atomic(PAGE, page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
