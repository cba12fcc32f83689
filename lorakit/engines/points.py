"""From `--vary` to points, and from a point to its recipe's text. Pure."""

import re
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from random import Random
from typing import Any

from lorakit.errors import Fault, counted, raise_on_errors
from lorakit.private import is_private_set
from lorakit.recipe.document import Document, KeyPath, with_values

MOST = 1000  # points: more is a mistake, or a night with a better idea
_COMMA = re.compile(r""",(?=(?:[^"\[\]]*(?:"[^"]*"|\[[^\]]*\]))*[^"\[\]]*$)""")

_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")  # which only a search draws from

Said = tuple[str, ...]  # KEY=VALUE, as --set takes it
Varied = dict[str, tuple[str, ...]]  # each key and its values, as they were typed


def read_variations(texts: Sequence[str]) -> Varied:
    """KEY=a,b,c; a value with commas of its own stands in quotes or brackets."""
    found: Varied = {}
    faults = []
    for text in texts:
        key, equals, rest = (part.strip() for part in text.partition("="))
        values = tuple(dict.fromkeys(one.strip() for one in _COMMA.split(rest) if one.strip()))
        where, lone = f"--vary {text}", RANGE.fullmatch(rest)
        good = float(lone[1]) < float(lone[2]) if lone else len(values) > 1
        if is_private_set(text):
            what, hint = "a sweep is files, and this value belongs in none.", "Vary another key."
            faults.append(Fault(f"--vary {key}", what, hint, "vary"))
        elif not key or not equals or not good:
            hint = "Such as --vary network_dim=8,16,32, or learning_rate=1e-5..1e-3 to search."
            faults.append(Fault(where, "is not a key with two values or more.", hint, "vary"))
        elif key in found:
            faults.append(Fault(where, f"{key} is varied twice.", "Put all values in one.", "vary"))
        else:
            found[key] = values
    if not texts:
        what, hint = "a sweep varies something.", "Such as --vary network_dim=8,16,32."
        faults.append(Fault("--vary", what, hint, "vary"))
    raise_on_errors(faults)
    return found


def combinations(
    varied: Varied, *, zipped: bool = False, random: int = 0, seed: int = 0
) -> list[Said]:
    """Every combination, or the values side by side, or so many of them drawn at random."""
    values = [[f"{key}={value}" for value in those] for key, those in varied.items()]
    drawn_from = (key for key, those in varied.items() if RANGE.fullmatch(",".join(those)))
    what, hint = "is a range, from which only a search draws.", "Add --search 30, or list values."
    raise_on_errors([Fault(f"--vary {key}", what, hint, "vary") for key in drawn_from])
    lengths = {len(one) for one in values}
    if zipped and len(lengths) > 1:
        said = ", ".join(f"{key} {len(those)}" for key, those in varied.items())
        what = f"takes as many values of each key; there are {said}."
        raise_on_errors([Fault("--zip", what, "Leave --zip out for every combination.", "vary")])
    count = min(lengths) if zipped else prod(map(len, values))
    if (random if 0 < random < count else count) > MOST:
        hint = f"--random N draws some of them; {MOST} is the most."
        raise_on_errors([Fault("--vary", f"makes {counted(count, 'point')}.", hint, "vary")])
    if zipped:
        return list(zip(*values, strict=True))
    if not 0 < random < count:
        return list(product(*values))
    chance, drawn = Random(seed), dict[Said, None]()
    while len(drawn) < random:
        drawn[tuple(map(chance.choice, values))] = None
    return list(drawn)


def recipe_with(document: Document, values: Mapping[KeyPath, Any], head: str) -> str:
    """The recipe with these values under a first line of its own, for another folder."""
    text = re.sub(r"\A#(:schema| \S+, of the sweep) .*\n", "", with_values(document, values))
    return f"# {head}\n{text}"
