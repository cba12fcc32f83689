"""From a log's last lines to cause, evidence and remedy. Never guesses: unknown is an answer."""

import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lorakit import tomllib
from lorakit.files import below
from lorakit.runs.find import run_name
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import Diagnosis, Record
from lorakit.trainers.signatures import package_of

_TRACE_END = re.compile(
    r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Warning|Interrupt|Invalid))\b(?::|$)"
)
SMALLER = "{again} --set max_data_loader_n_workers=0 --set train_batch_size=1"
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
    pattern: re.Pattern[str]
    cause: str
    remedy: str  # a command


@cache
def symptoms() -> tuple[Symptom, ...]:
    """In the order in which they are tried."""
    table = tomllib.page(__file__, "symptoms.toml")
    return tuple(
        Symptom(entry["rule"], re.compile("|".join(entry["log"])), entry["cause"], entry["remedy"])
        for entry in table["symptom"]
    )


def diagnose(lines: Sequence[str], outcome: Outcome, *, memory_killed: bool = False) -> Diagnosis:
    """`memory_killed`: the kernel has killed something of ours for memory during the run."""
    recipe = recipe_word(outcome.record)
    python = shlex.quote(outcome.record.trainer.python or "python")
    words = {"recipe": recipe, "again": f"lorakit train {recipe}", "python": python}
    lines = unwrapped(lines)
    # What is near the end is the cause; the rest may be an old warning.
    for near in (lines[-NEAR:], lines):
        for symptom in symptoms():
            for line in reversed(near):
                if match := symptom.pattern.search(line):
                    return _found(symptom, match, line, words)
    if outcome.ending.nan:
        return _nan(lines, outcome.record, words)
    if memory_killed:
        return Diagnosis(
            "the kernel killed the training because the machine's memory was full",
            "the kernel's count of memory kills rose",
            SMALLER.format(**words),
            "host-memory",
        )
    if outcome.ending.signal is not None:
        return _signalled(lines, outcome.ending.signal, words)
    evidence = _evidence(lines)
    if outcome.state == "dead" and not _TRACE_END.match(evidence):
        saved = any((outcome.run_dir / "output").glob("*-state"))
        return Diagnosis(
            "it stopped silently, as a program does that is killed from outside or for lack of"
            " memory",
            evidence,
            f"lorakit resume {shlex.quote(run_name(outcome.run_dir))}" if saved else words["again"],
            "killed",
        )
    remedy = f"lorakit log {shlex.quote(run_name(outcome.run_dir))}"
    return Diagnosis("unknown: lorakit does not know this failure", evidence, remedy, "unknown")


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


def _found(
    symptom: Symptom, match: re.Match[str], line: str, words: Mapping[str, str]
) -> Diagnosis:
    caught = [group.strip() for group in match.groups() if group]
    if symptom.rule == "missing-package" and caught:
        caught[0] = package_of(caught[0].lower())
    fill = [*caught, *[""] * 3]
    cause = symptom.cause.format(*fill, **words).replace(" ()", "").rstrip(" :")
    remedy = symptom.remedy.format(*[shlex.quote(word) for word in fill], **words)
    return Diagnosis(cause, line.strip(), remedy, symptom.rule)


def _nan(lines: Sequence[str], record: Record, words: Mapping[str, str]) -> Diagnosis:
    """The commonest reasons first: half precision in the VAE or at all, then a high rate."""
    line = next((line for line in lines if NAN.search(line)), "")
    again = words["again"]
    rate = record.value("learning_rate")
    if record.value("mixed_precision") == "fp16":
        if record.value("no_half_vae"):
            cause, change = "the loss became NaN in fp16", "mixed_precision=bf16"
        else:
            cause = "the loss became NaN; in fp16 the VAE overflows first"
            change = "no_half_vae=true"
        return Diagnosis(cause, line, f"{again} --set {change}", "nan")
    optimizer = str(record.value("optimizer_type")).lower()
    own_rate = optimizer.startswith(("prodigy", "dadapt"))  # they want about 1
    lower = (
        f"{min(float(rate) / 4, 1.0 if own_rate else LIKELY_RATE):g}"
        if isinstance(rate, (int, float)) and rate > 0
        else "5e-5"
    )
    cause = "the loss became NaN; most likely the learning rate is too high"
    return Diagnosis(cause, line, f"{again} --set learning_rate={lower}", "nan")


def _signalled(lines: Sequence[str], number: int, words: Mapping[str, str]) -> Diagnosis:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    evidence = next(
        (line.strip() for line in reversed(lines) if name in line), f"the process ended by {name}"
    )
    if name == "SIGKILL":
        return Diagnosis(
            "the training was killed from outside; if nobody did it by hand, memory was full",
            evidence,
            SMALLER.format(**words),
            "killed",
        )
    if name in {"SIGSEGV", "SIGBUS", "SIGILL", "SIGABRT"}:
        return Diagnosis(
            f"a library crashed in native code ({name})", evidence, words["again"], "crash"
        )
    return Diagnosis(
        f"the training was ended by {name} from outside lorakit",
        evidence,
        words["again"],
        "interrupted",
    )


def _evidence(lines: Sequence[str]) -> str:
    """The last line that names an error; else the last line there is."""
    for line in reversed(lines):
        if _TRACE_END.match(line.strip()) and "CalledProcessError" not in line:
            return line.strip()
    return lines[-1].strip() if lines else "the log is empty"
