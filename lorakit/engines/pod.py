"""A machine that ssh reaches, such as a rented one: a recipe's bundles over there, a run's back.
pod.sh is the other end. What trains there is in a session of its own and needs no connection.
"""

import os
import re
import shlex
import time
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from urllib.parse import quote

from lorakit import __version__
from lorakit.config import user_setting
from lorakit.dataset.share.bundle import contents, unpack, verify, write_bundle
from lorakit.errors import LorakitError, RecipeError, SetupError, raise_on_errors
from lorakit.files import below, sha256
from lorakit.plan.model import Plan
from lorakit.private import is_private_set, without_user
from lorakit.proc import Answer, ask, stay
from lorakit.proof.project import recipe_files
from lorakit.recipe.model import Resolved
from lorakit.runs.find import info, run_name
from lorakit.runs.folder import runs_dir
from lorakit.show import duration, size

ROOT = Path(__file__).resolve().parents[2]
PLACE = "lorakit-pod"  # in the home folder there
SKEW_S = 60.0
OPTIONS = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4")
NAMED = re.compile(r"ssh:((?:\w[\w.-]*@)?\w[\w.-]*)(?::(\d{1,5}))?(/.*)?")
BY_HAND = "Try it by hand: ssh {host}. LORAKIT_SSH='ssh -i KEY -p PORT' adds options."
GOES_ON = "What trains there goes on. Do it again. " + BY_HAND
FAILURES = (  # exit code, what was said, what it means, what to do
    (127, "", "There is no ssh here.", "apt-get install openssh-client"),
    (76, "", "No lorakit runs at {host}.", "lorakit remote {pod} setup"),
    (77, "", "Here is lorakit {here}, and at {host} {said}.", "lorakit remote {pod} setup"),
    (255, "Permission denied", "{host} refused the key. {said}", BY_HAND),
    (255, "key verification", "{host} is not known here, or is another machine now.", BY_HAND),
    (255, "hostname|refused|timed out|No route", "{host} cannot be reached. {said}", BY_HAND),
    (255, "", "{host} is not connected. {said}", GOES_ON),
)


@dataclass(frozen=True)
class Pod:
    name: str  # as it was said
    host: str  # as ssh takes it: a name of ~/.ssh/config, too
    port: str
    folder: str

    @classmethod
    def named(cls, text: str) -> "Pod":
        if found := NAMED.fullmatch(text):
            return cls(text, found[1], found[2] or "", found[3] or PLACE)
        hint = "Such as ssh:root@203.0.113.7:22022/workspace/maya, or ssh:NAME of ~/.ssh/config."
        raise LorakitError(f"{text!r} names no machine.", hint=hint)

    def __str__(self) -> str:
        return self.name

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
        if code in {row[0] for row in FAILURES}:
            raise self.failure(Answer(code, "", ""))
        return code

    def failure(self, answer: Answer) -> LorakitError:
        for code, sign, what, hint in FAILURES:
            if answer.code == code and re.search(sign, answer.err):
                last = (answer.err.strip().splitlines() or [""])[-1]
                words = {"host": self.host, "pod": self, "here": __version__, "said": last}
                return SetupError(what.format(**words).strip(), hint=hint.format(**words))
        return LorakitError(f"{self.host} says: {answer.err.strip()}")


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
    unsets = [f"--unset={one}" for one in resolved.unsets]
    return found, [*(f"--set={one}" for one in sets), *unsets]


def sent_files(resolved: Resolved) -> dict[str, bytes]:
    """Recipe, lock and presets by their place there; nothing private goes to another machine."""
    files = recipe_files(resolved)
    if not files or any(map(is_private_set, resolved.sets)):
        what = f"{resolved.file.name} comes with values that may be private; nothing was sent."
        raise RecipeError(what, hint="Set them in the environment of the machine instead.")
    return files


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


def push(pod: Pod, plans: Sequence[Plan], tell: Callable[[str], object]) -> list[str]:
    """Recipes, locks, presets and datasets to their places there; the words to say over them."""
    found = [datasets_of(plan.resolved) for plan in plans]
    if any(words != found[0][1] for _, words in found):
        what = "These recipes take different pictures from outside of the project."
        raise RecipeError(what, hint="Push them one by one.")
    project = ChainMap(*(sent_files(plan.resolved) for plan in plans))
    sources: dict[str, Mapping[str, Path | bytes]] = {"": {**project}}
    for place, root in ChainMap(*(datasets for datasets, _ in found)).items():
        sources[place] = dict(contents(root))
    with TemporaryDirectory(prefix="lorakit-push-") as folder:
        paths = [Path(folder) / str(number) for number in range(len(sources))]
        digests = [
            bundle_at(path, Path(place).name, files)
            for path, (place, files) in zip(paths, sources.items(), strict=True)
        ]
        _send(pod, list(zip(digests, paths, strict=True)), tell)
    pairs = list(zip(digests, sources, strict=True))[1:]
    for line in pod.ask("place", digests[0], *chain(*pairs)).splitlines():
        tell(line)
    return found[0][1]


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
    if not rest:
        tell(f"All of it is at {pod.host} already.")
    for digest, path, seen in rest:
        total = path.stat().st_size
        tell(f"{size(total - seen)} to {pod.host}" + (f", from byte {seen:,} on" if seen else ""))
        with path.open("rb") as file:
            os.lseek(file.fileno(), seen, os.SEEK_SET)
            pod.ask("take", digest, str(total), given=file)


def fetch_run(pod: Pod, word: str, root: Path) -> Path:
    """A run that has ended, put into its place here once every byte is proven."""
    bundle = root / ".lorakit" / "fetch" / f"{quote(f'{pod.host} {word}', safe=' @')}.zip"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    with bundle.open("ab") as file:  # what a cut has left of it is there already
        pod.ask("pack", word, str(file.tell()), into=file)
    try:
        manifest, faults = verify(bundle)
        raise_on_errors(faults)
        name = Path(manifest.dataset)
        if len(name.parts) != 2 or name.is_absolute() or ".." in name.parts:
            raise LorakitError(f"{pod.host} calls its run {manifest.dataset!r}; it was not taken.")
        target = runs_dir(root) / name
        if target.exists():
            hint = "Move it away to have the one there."
            raise LorakitError(f"{target} is here already, and is left as it is.", hint=hint)
        unpack(bundle, target)
        return target
    finally:
        bundle.unlink()


def pack_run(run_dir: Path, stream: IO[bytes]) -> None:
    """The other end of `fetch_run`."""
    if info(run_dir).state in {"running", "unattended"}:
        what = f"{run_name(run_dir)} is being trained; it is fetched when it has ended."
        raise LorakitError(what, hint="watch, log and stop work until then.")
    files = (path for path in sorted(run_dir.rglob("*")) if path.is_file())
    sources = {path.relative_to(run_dir).as_posix(): path for path in files}
    write_bundle(stream, run_name(run_dir), sources)


def setup_lines(trainer: str = "kohya") -> list[str]:
    """Of a shell: `source/` with the same commit or release of lorakit, the trainer beside it."""
    git = ["git", "-C", str(ROOT)]
    url = ask([*git, "remote", "get-url", "origin"]).out.strip()
    commit = ask([*git, "rev-parse", "HEAD"]).out.strip()
    if not url or not (ROOT / "pyproject.toml").is_file():
        what = shlex.quote(f"lorakit[train]=={__version__}")
        return ["python3 -m venv source/.venv", f"source/.venv/bin/pip install {what}"]
    url = without_user(re.sub(r"^(?:ssh://)?git@([^:/]+)[:/]", r"https://\1/", url))
    targets = {"embedded": "setup", "musubi": "vendor-musubi"}
    return [
        f"[ -d source ] || git clone --quiet {shlex.quote(url)} source",
        "git -C source fetch --quiet",
        f"git -C source checkout --quiet {commit}",
        f"make -C source {targets.get(trainer, 'vendor')}",
    ]
