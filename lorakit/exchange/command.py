"""A training command as a shell would read it, with nothing executed: quotes, continued lines and
plain variables are understood; whatever the shell would compute is left out.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lorakit.errors import refused
from lorakit.exchange.said import Said
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
