"""A training command as a shell would read it, with nothing executed: quotes, continued lines and
plain variables are understood; whatever the shell would compute is left out.
"""

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from lorakit.catalogue.options import Option, options
from lorakit.dataset.facts import parse_folder
from lorakit.errors import refused
from lorakit.families import FAMILIES

COMPUTED = "the shell would compute it; lorakit executes nothing. Write its value into the recipe."
ACCELERATE = "lorakit writes accelerate's own configuration."
LAUNCHER = {
    "num_processes": "launch.processes",
    "num_machines": "launch.machines",
    "machine_rank": "launch.machine_rank",
    "main_process_ip": "launch.main_address",
    "main_process_port": "launch.main_port",
    "num_cpu_threads_per_process": "launch.num_cpu_threads",
    "gpu_ids": "launch.gpu_ids",
}
SCRIPT = re.compile(r"[\w./\\${}-]*train\w*\.py\b")
TOOLKIT = re.compile(r"\brun\.py[\"']?\s+[\"']?([^\s\"']+\.ya?ml)\b")
ASSIGNED = re.compile(
    r"""^(?:export\s+|set\s+|\$)?(\w+)\s*=\s*("[^"$`]*"|'[^']*'|[^\s"'#`$]+)""", re.MULTILINE
)
COMPUTED_WORDS = re.compile(r"\$@|\$\{\w+\[[@*]\]\}")
USED = re.compile(r"\$\{(\w+)\}|\$(\w+)|%(\w+)%")
NOT_NAMED = "a folder of class images must be called N_class; nothing is moved."


@dataclass(frozen=True)
class Said:
    """One value. `key` is kohya's option, SECTION.KEY or a word of the top level; without one the
    value has no counterpart, and `why` says what becomes of it.
    """

    source: str  # what it is called there: network.linear, --network_dim
    value: Any
    key: str = ""
    meant: Any = None  # under `key`, where it is another value
    why: str = ""

    @property
    def ours(self) -> Any:
        return self.value if self.meant is None else self.meant


@dataclass(frozen=True)
class Theirs:
    kind: str  # in a sentence: "a kohya config"
    said: tuple[Said, ...]
    family: str = ""
    trainer: str = ""  # whose words these are, where not the family's first one's
    folder: Path = Path()  # that its relative paths may start from
    stem: str = "imported"


def number_in(text: object) -> float | None:
    try:
        number = float(str(text))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def folder_of_images(
    source: str, place: str, *, reg: bool = False, repeats: object = 1, tokens: str = ""
) -> Iterator[Said]:
    """A folder of images, as the dataset whose subset it is, or itself, where it lies flat; and the
    trigger in its name.
    """
    path, parsed = Path(place), parse_folder(Path(place).name)
    named = parsed is not None
    if reg and not named:
        yield Said(source, place, why=NOT_NAMED)
        return
    there = path.parent if named else path
    yield Said(source, place, f"dataset.{'reg_path' if reg else 'path'}", there.as_posix())
    if not named:
        stated = {path.name: {"num_repeats": repeats}}
        yield Said(source, place, "dataset.subset", stated, "its pictures stay where they lie")
    words = (tokens or getattr(parsed, "class_tokens", "")).split()
    if words and not reg:
        yield Said(f"{source.rpartition('.')[0]}: its folder", path.name, "trigger", words[0])


@cache
def options_of(family: str, trainer: str = "") -> Mapping[str, Option]:
    """Of that or its default trainer's script; all there are, for a family that we do not have."""
    if family in FAMILIES:
        name = trainer or FAMILIES[family].trainers[0]
        return options(name, FAMILIES[family].by(name).script)
    return {key: one for name in reversed(FAMILIES) for key, one in options_of(name).items()}


def looks_like_command(text: str) -> bool:
    return bool(
        SCRIPT.search(text) or TOOLKIT.search(text) or re.search(r"(?:^|\s)--[a-z]\w+", text)
    )


def read_command(text: str, where: str) -> tuple[list[Said], str]:
    """Every option of the last training command in the text, and the family of its script."""
    text = re.sub(r"[ \t]*(?:\\|`|\^)[ \t]*\r?\n", " ", text)
    known = {found[1]: found[2].strip("\"'") for found in ASSIGNED.finditer(text)}
    lines = [line for line in text.splitlines() if looks_like_command(line)]
    lines = [line for line in lines if not line.lstrip().startswith(("#", "::", "rem "))]
    named = [line for line in lines if SCRIPT.search(line) and " --" in line]
    line = max(named or lines, key=lambda one: one.count(" --"), default="")
    line = USED.sub(lambda used: known.get(used[1] or used[2] or used[3], used[0]), line)
    words = _split(line, where)
    at = next((n for n, word in enumerate(words) if SCRIPT.fullmatch(word)), -1)
    script = PurePosixPath(words[at].replace("\\", "/")).name if at >= 0 else ""
    families = {one.script: name for name, one in reversed(FAMILIES.items())}
    said = [*_launcher(words[: at + 1][:-1]), *_options(words[at + 1 :])]
    if not said:
        raise refused(where, "holds no training command.", "It should name a script and options.")
    return said, families.get(script, script.removesuffix("_train_network.py"))


def _split(line: str, where: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    if re.search(r"[A-Za-z]:\\", line):
        lexer.escape = ""  # a backslash of Windows is part of a path
    try:
        return list(lexer)
    except ValueError:
        raise refused(where, "holds a quote that is never closed.") from None


def _launcher(words: Sequence[str]) -> Iterator[Said]:
    for one in _options(words):
        key = LAUNCHER.get(one.key, "")
        yield Said(one.source, one.value, key, why="" if key else ACCELERATE)


def _options(words: Sequence[str]) -> Iterator[Said]:
    """--key, --key value, --key=value, --key several values."""
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("--"):
            key, equals, value = word.partition("=")
            groups.append([key, value] if equals else [key])
        elif word in {"&&", ";", "|", ">", "2>&1", "&"}:
            break
        elif COMPUTED_WORDS.fullmatch(word) or (not groups and "$" in word):
            yield Said(word, word, why=COMPUTED)
        elif groups:
            groups[-1].append(word)
    for key, *values in groups:
        given: Any = values[0] if len(values) == 1 else values or True
        if any(mark in one for one in values for mark in ("$", "`")):
            yield Said(key, given, why=COMPUTED)
        else:
            yield Said(key, given, key.removeprefix("--").replace("-", "_"))


def options_in(text: str, where: str) -> list[Said]:
    """Options alone, as they are typed into a box."""
    return list(_options(_split(text, where)))


def pasted(thing: str) -> bool:
    """Whether what was typed is a command itself and not the name of a file."""
    return "\n" in thing or (looks_like_command(thing) and not Path(thing).exists())
