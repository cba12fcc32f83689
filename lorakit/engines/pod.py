"""A machine that ssh reaches, such as a rented one: a recipe's bundles over there, a run's back.
pod.sh is the other end. What trains there is in a session of its own and needs no connection.
"""

import io
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from lorakit import __version__
from lorakit.config import user_setting
from lorakit.dataset.share.bundle import contents, unpack, verify, write_bundle
from lorakit.errors import LorakitError, RecipeError, SetupError, raise_on_errors
from lorakit.files import below, sha256
from lorakit.plan.model import Plan
from lorakit.private import is_private_set
from lorakit.proc import Answer, ask, stay
from lorakit.proof.project import FOLDER, START, project_files
from lorakit.recipe.model import Resolved
from lorakit.runs.find import info, run_name
from lorakit.runs.folder import runs_dir
from lorakit.show import duration, size

PLACE = "lorakit-pod"  # in the home folder there
SKEW_S = 60.0
OPTIONS = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4")
NAMED = re.compile(r"ssh:((?:\w[\w.-]*@)?\w[\w.-]*)(?::(\d{1,5}))?(/.*)?")
LOST, NO_LORAKIT, ANOTHER, NO_SSH = 255, 76, 77, 127
BY_HAND = "Try it by hand: ssh {host}. LORAKIT_SSH='ssh -i KEY -p PORT' adds options."
WHY = (  # what ssh says, what it means, what to do
    ("Permission denied", "refused the key", "Put your public key there. " + BY_HAND),
    ("verification failed", "is not known here, or is another machine now", BY_HAND),
    ("resolve hostname|refused|timed out|No route", "cannot be reached", "Is it on? " + BY_HAND),
    ("", "is not connected", "What trains there goes on; run the same command again."),
)


@dataclass(frozen=True)
class Pod:
    host: str  # as ssh takes it: a name of ~/.ssh/config, too
    port: str
    folder: str

    @classmethod
    def named(cls, text: str) -> "Pod":
        if found := NAMED.fullmatch(text):
            return cls(found[1], found[2] or "", found[3] or PLACE)
        hint = "Such as ssh:root@203.0.113.7:22022/workspace/maya, or ssh:NAME of ~/.ssh/config."
        raise LorakitError(f"{text!r} names no machine.", hint=hint)

    def __str__(self) -> str:
        port, folder = f":{self.port}" if self.port else "", self.folder
        return f"ssh:{self.host}{port}{'' if folder == PLACE else folder}"

    def argv(self, words: Sequence[str], *, tty: bool = False) -> list[str]:
        """One text for the shell there, in which every word is quoted."""
        script = Path(__file__).with_suffix(".sh").read_text(encoding="utf-8")
        there = shlex.join(["sh", "-c", script, "sh", self.folder, __version__, *words])
        setting = user_setting("ssh")
        ssh = shlex.split(setting[0]) if setting else ["ssh"]
        options = [word for one in OPTIONS for word in ("-o", one)]
        port = ["-p", self.port] if self.port else []
        return [*ssh, *options, *port, "-t" if tty else "-T", "--", self.host, there]

    def ask(
        self, *words: str, given: IO[bytes] | None = None, into: IO[bytes] | None = None
    ) -> str:
        answer = ask(self.argv(words), timeout_s=None, given=given, into=into)
        if answer.code:
            raise self.failure(answer)
        return answer.out

    def stay(self, words: Sequence[str], *, tty: bool = False) -> int:
        """The same on this terminal; the command's own exit code."""
        code = stay(self.argv(words, tty=tty))
        if code in {LOST, NO_LORAKIT, ANOTHER, NO_SSH}:
            raise self.failure(Answer(code, "", ""))
        return code

    def failure(self, answer: Answer) -> LorakitError:
        said, set_up = answer.err.strip(), f"lorakit remote {self} setup"
        if answer.code == NO_SSH:
            return SetupError("There is no ssh here.", hint="apt-get install openssh-client")
        if answer.code == NO_LORAKIT:
            return SetupError(f"No lorakit runs at {self.host}.", hint=set_up)
        if answer.code == ANOTHER:
            theirs = said.splitlines()[-1] if said else "another one"
            what = f"Here is lorakit {__version__}, and at {self.host} {theirs}."
            return SetupError(what, hint=f"{set_up}    # the same one there")
        if answer.code == LOST:
            last = said.splitlines()[-1] if said else ""
            _, what, hint = next(one for one in WHY if re.search(one[0], said))
            what = f"{self.host} {what}. {last}".strip()
            return SetupError(what, hint=hint.format(host=self.host))
        return LorakitError(f"{self.host} says: {said}")


def datasets_of(resolved: Resolved) -> tuple[dict[str, Path], list[str]]:
    """Folders by their place there, and what is said over the recipe there."""
    found: dict[str, Path] = {}
    sets = list(resolved.sets)
    for key in ("path", "reg_path"):
        if said := resolved.dataset.get(key):
            root = resolved.path_of(str(said.value))
            place = below(root, resolved.root)
            if os.path.isabs(place) or ".." in Path(place).parts:
                place = f"datasets/{root.name}"
                sets.append(f"dataset.{key}={place}")
            found[place] = root
    return found, [
        *(f"--set={one}" for one in sets),
        *(f"--unset={one}" for one in resolved.unsets),
    ]


def sent_files(resolved: Resolved) -> dict[str, bytes]:
    """Recipe, lock and presets by their place there; nothing private goes to another machine."""
    ours = project_files(resolved, "")
    if not ours or any(map(is_private_set, resolved.sets)):
        what = f"{resolved.file.name} comes with values that may be private; nothing was sent."
        raise RecipeError(what, hint="Set them in the environment of the machine instead.")
    return {
        name.removeprefix(f"{FOLDER}/"): data
        for name, data in ours.items()
        if name != f"{FOLDER}/{START}"
    }


def stays_here(plan: Plan) -> list[str]:
    """A sentence for each file of weights that the hub does not have."""
    found = dict.fromkeys(one.asked for one in plan.weights if not one.asked.startswith("hf:"))
    hint = "copy it there, or name it hf:OWNER/REPO/FILE in the recipe."
    return [f"{one} is not sent: {hint}" for one in found]


def bundle_at(path: Path, name: str, sources: Mapping[str, Path | bytes]) -> str:
    """Its digest, by which it is known on another machine."""
    with path.open("wb") as stream:
        write_bundle(stream, name, sources)
    return sha256(path)[:16]


def push(pod: Pod, resolved: Resolved, tell: Callable[[str], object]) -> list[str]:
    """Recipe, lock, presets and datasets to their places there; the words to say over it."""
    datasets, words = datasets_of(resolved)
    sources: dict[str, Mapping[str, Path | bytes]] = {"": sent_files(resolved)}
    sources |= {place: dict(contents(root)) for place, root in datasets.items()}
    with TemporaryDirectory(prefix="lorakit-push-") as folder:
        paths = [Path(folder) / str(number) for number in range(len(sources))]
        digests = [
            bundle_at(path, Path(place).name, files)
            for path, (place, files) in zip(paths, sources.items(), strict=True)
        ]
        _send(pod, list(zip(digests, paths, strict=True)), tell)
    pairs = zip(digests[1:], datasets, strict=True)
    for line in pod.ask("place", digests[0], *chain(*pairs)).splitlines():
        tell(line)
    return words


def _send(pod: Pod, bundles: list[tuple[str, Path]], tell: Callable[[str], object]) -> None:
    asked = time.time()
    clock, free, *had = pod.ask("about", *(digest for digest, _ in bundles)).split()
    skew = int(clock) - (asked + time.time()) / 2
    if abs(skew) > SKEW_S:
        ahead = "ahead of" if skew > 0 else "behind"
        what = f"the clock of {pod.host} is {duration(abs(skew))} {ahead} this one"
        tell(f"warning: {what}, and its runs are dated by it.")
    rest = [
        (digest, path, int(seen))
        for (digest, path), seen in zip(bundles, had, strict=True)
        if seen != "all"
    ]
    needed = sum(2 * path.stat().st_size - seen for _, path, seen in rest)  # packed and unpacked
    if needed > int(free) * 1024:
        what = f"{pod.host} has {size(int(free) * 1024)} free and needs {size(needed)}"
        raise SetupError(f"{what}; nothing was sent.", hint=f"Make room there, in {pod.folder}.")
    for digest, path, seen in rest:
        total = path.stat().st_size
        tell(f"{size(total - seen)} to {pod.host}" + (f", from byte {seen:,} on" if seen else ""))
        with path.open("rb") as file:
            os.lseek(file.fileno(), seen, os.SEEK_SET)
            pod.ask("take", digest, str(total), given=file)


def fetch_run(pod: Pod, word: str, root: Path) -> Path:
    """A run that has ended, put into its place here once every byte is proven."""
    part = runs_dir(root) / ".fetch-{}.zip".format(re.sub(r"[^\w.-]", "-", word))
    part.parent.mkdir(exist_ok=True)
    try:
        with part.open("ab") as file:  # goes on where a cut connection left it
            pod.ask("remote", "here", "pack", word, str(file.tell()), into=file)
        target = _unpacked(part, runs_dir(root), pod.host)
    except SetupError:
        raise
    except LorakitError:
        part.unlink()
        raise
    part.unlink()
    return target


def _unpacked(part: Path, runs: Path, host: str) -> Path:
    try:
        manifest, faults = verify(part)
        raise_on_errors(faults)
    except RecipeError as error:
        what = f"What came is not what {host} sent; it was thrown away. {error.message}"
        hint = "Run the same command again."
        raise LorakitError(what, faults=error.faults, hint=hint) from None
    name = Path(manifest.dataset)
    if len(name.parts) != 2 or name.is_absolute() or ".." in name.parts:
        raise LorakitError(f"{host} calls its run {manifest.dataset!r}; it was not taken.")
    if (runs / name).exists():
        hint = "Move it away to have the one there."
        raise LorakitError(f"{runs / name} is here already, and is left as it is.", hint=hint)
    unpack(part, runs / name)
    return runs / name


class _FromByte(io.RawIOBase):
    """Leaves out what the other side has."""

    def __init__(self, stream: IO[bytes], seen: int) -> None:
        self._stream, self._seen = stream, seen

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(bytes(data)[self._seen :])
        self._seen = max(0, self._seen - len(data))
        return len(data)


def pack_run(run_dir: Path, stream: IO[bytes], seen: int) -> None:
    """The other end of `fetch_run`."""
    if info(run_dir).state in {"running", "unattended"}:
        what = f"{run_name(run_dir)} is being trained; it is fetched when it has ended."
        raise LorakitError(what, hint="watch, log and stop work until then.")
    files = (path for path in sorted(run_dir.rglob("*")) if path.is_file())
    sources = {path.relative_to(run_dir).as_posix(): path for path in files}
    with io.BufferedWriter(_FromByte(stream, seen)) as rest:
        write_bundle(rest, run_name(run_dir), sources)
