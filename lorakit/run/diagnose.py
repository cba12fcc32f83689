"""From a log's last lines to cause, evidence and remedy. Never guesses: unknown is an answer."""

import re
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.files import below
from lorakit.runs.find import run_name
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import Diagnosis, Record
from lorakit.trainers.signatures import package_of

NATIVE = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGABRT")
SIGNS = {"SIGKILL": "killed", **dict.fromkeys(NATIVE, "crash")}  # of what a signal is
_TRACE_END = re.compile(
    r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Warning|Interrupt|Invalid))\b(?::|$)"
)
NEAR = 60
LIKELY_RATE = 1e-4  # a rate above it that ends in NaN was most likely a typo
NAN = re.compile(r"avr_loss=nan|loss is (?:nan|not a finite number)", re.IGNORECASE)
# A log message of sd-scripts goes on below its beginning when it is long, and says everything a
# second time in Japanese.
_RECORD = re.compile(r"(?:[-\d]{10} [\d:]{8} | {20,})((?:INFO|WARNING|ERROR|CRITICAL) +\S.*)")
_PLACE = re.compile(r"\s+\w+\.py:\d+$")
_MORE = re.compile(r"^ {20,}(?=\S)")
_JAPANESE = re.compile(r"\s/\s*\S*\s?[^\x00-\x7f](?:(?!: ).)*")


@dataclass(frozen=True)
class Symptom:
    rule: str
    cause: str
    remedy: str  # a command
    pattern: re.Pattern[str] = re.compile(r"(?!)")  # a sign is in no line of the log


@cache
def _table() -> dict[str, Any]:
    return tomllib.page(__file__, "symptoms.toml")


@cache
def symptoms() -> tuple[Symptom, ...]:
    """In the order in which they are tried."""
    return tuple(
        Symptom(entry["rule"], entry["cause"], entry["remedy"], re.compile("|".join(entry["log"])))
        for entry in _table()["symptom"]
    )


def diagnose(lines: Sequence[str], outcome: Outcome, *, memory_killed: bool = False) -> Diagnosis:
    """`memory_killed`: the kernel has killed something of ours for memory during the run."""
    lines = unwrapped(lines)
    # What is near the end is the cause; the rest may be an old warning.
    for near in (lines[-NEAR:], lines):
        for symptom in symptoms():
            for line in reversed(near):
                if match := symptom.pattern.search(line):
                    return _told(symptom, outcome, line.strip(), match.groups(""))
    if outcome.ending.nan:
        line = next((line for line in lines if NAN.search(line)), "")
        return sign(_nan(outcome.record), outcome, line)
    if memory_killed:
        return sign("memory-kill", outcome, "the kernel's count of memory kills rose")
    if outcome.ending.signal is not None:
        number = outcome.ending.signal
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        named = (line.strip() for line in reversed(lines) if name in line)
        kind = SIGNS.get(name, "signal")
        return sign(kind, outcome, next(named, f"the process ended by {name}"), name)
    evidence = _evidence(lines)
    if outcome.state == "dead" and not _TRACE_END.match(evidence):
        saved = any((outcome.run_dir / "output").glob("*-state"))
        return sign("silent-saved" if saved else "silent", outcome, evidence)
    return sign("unknown", outcome, evidence)


def sign(name: str, outcome: Outcome, evidence: str, caught: str = "") -> Diagnosis:
    """What shows elsewhere than in a line of the log, by its name in the table."""
    return _told(Symptom(**_table()["sign"][name]), outcome, evidence, (caught,))


def _told(symptom: Symptom, outcome: Outcome, evidence: str, groups: Sequence[str]) -> Diagnosis:
    record = outcome.record
    recipe, run = recipe_word(record), shlex.quote(run_name(outcome.run_dir))
    words = {"recipe": recipe, "again": f"lorakit train {recipe}", "run": run}
    words |= {"python": shlex.quote(record.trainer.python or "python"), "rate": _lower(record)}
    caught = [group.strip() for group in groups if group]
    if symptom.rule == "missing-package" and caught:
        caught[0] = package_of(caught[0].lower())
    fill = [*caught, *[""] * 3]
    cause = symptom.cause.format(*fill, **words).replace(" ()", "").rstrip(" :")
    remedy = symptom.remedy.format(*[shlex.quote(word) for word in fill], **words)
    return Diagnosis(cause, evidence, remedy, symptom.rule)


def unwrapped(lines: Sequence[str]) -> list[str]:
    """Log messages that were broken into columns, each as one line of English."""
    joined: list[str] = []
    inside = False
    for line in lines:
        found = _RECORD.search(line)  # anywhere: a bar that was being drawn stands before it
        if inside and not found and _MORE.match(line):
            joined[-1] += f" {line.strip()}"
            continue
        inside = found is not None
        joined.append(_PLACE.sub("", found[1]) if found else line)
    return [_JAPANESE.sub("", line) for line in joined]


def recipe_word(record: Record) -> str:
    """The run's recipe as a shell takes it."""
    return shlex.quote(below(Path(record.recipe), Path.cwd()) if record.recipe else "")


def with_own_sets(remedy: str, record: Record) -> str:
    """The remedy with the run's own --set and --unset, but for the keys that it changes itself."""
    changed = set(re.findall(r"--(?:un)?set (?:train\.)?([\w.]+)", remedy))
    own = [
        f"--{word} {shlex.quote(said)}"
        for word, every in (("set", record.sets), ("unset", record.unsets))
        for said in every
        if said.partition("=")[0].strip().removeprefix("train.") not in changed
    ]
    command = rf"lorakit (?:train|plan) {re.escape(recipe_word(record))}(?!\S)"
    return re.sub(command, lambda found: " ".join([found[0], *own]), remedy)


def _nan(record: Record) -> str:
    """The commonest reasons first: half precision in the VAE or at all, then a high rate."""
    if record.value("mixed_precision") != "fp16":
        return "nan"
    return "nan-fp16" if record.value("no_half_vae") else "nan-vae"


def _lower(record: Record) -> str:
    """A learning rate to try instead."""
    rate, optimizer = record.value("learning_rate"), str(record.value("optimizer_type")).lower()
    if not isinstance(rate, (int, float)) or rate <= 0:
        return "5e-5"
    own_rate = optimizer.startswith(("prodigy", "dadapt"))  # they want about 1
    return f"{min(float(rate) / 4, 1.0 if own_rate else LIKELY_RATE):g}"


def _evidence(lines: Sequence[str]) -> str:
    """The last line that names an error; else the last line there is."""
    for line in reversed(lines):
        if _TRACE_END.match(line.strip()) and "CalledProcessError" not in line:
            return line.strip()
    return lines[-1].strip() if lines else "the log is empty"
