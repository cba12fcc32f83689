"""Every fault of a dataset at once, each with its file and what to do about it.

  lorakit dataset check recipes/maya.toml
  lorakit dataset check datasets/maya --off border --off near-duplicate
  lorakit dataset check --rules            what each rule is for

Every image is decoded fully; a second run remembers what has not changed. Exit code 1 where there
are errors, 0 for warnings. In a recipe, [dataset] rules_off = ["border"] switches a rule off for
good; rules = { crop_limit = 0.3, near_bits = 3 } moves limits.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from typing import Any

from lorakit.cli.terminal.dataset_target import Target, read_target
from lorakit.cli.terminal.progress import counting
from lorakit.dataset.check import CheckSettings, check
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.rules import RULES, known_rules, shown
from lorakit.errors import Fault
from lorakit.show import print_json, table, tell

LIMITS: dict[str, tuple[type, ...]] = {"crop_limit": (int, float), "near_bits": (int,)}
FOLDED = 5  # faults of one rule that are shown before the rest is counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="RECIPE|FOLDER",
        nargs="?",
        help="a recipe, or the folder that holds the N_trigger folders",
    )
    parser.add_argument(
        "--off", metavar="RULE", action="append", default=[], help="leave this rule out; repeatable"
    )
    parser.add_argument(
        "--rules", action="store_true", help="list every rule and why it matters, and stop"
    )
    parser.add_argument("--trigger", default="", help="the trigger, where a bare folder is given")
    parser.add_argument(
        "--resolution",
        metavar="WxH",
        default="",
        help="judge sizes against this resolution, where a bare folder is given",
    )
    parser.add_argument(
        "--all", action="store_true", help="show every fault, also the many of one kind"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    if args.rules or not args.target:
        rows = [(rule.name, rule.severity, rule.why) for rule in RULES.values()]
        if args.json:
            print_json([dict(zip(("rule", "severity", "why"), row, strict=True)) for row in rows])
        else:
            table(["rule", "severity", "why it matters"], rows)
        return 0 if args.rules else 2
    target = read_target(args)
    wants = wants_of(target, args)
    facts = target.scan()
    with counting("looking") as progress:
        faults = check(facts, wants, progress=progress)
    if args.json:
        print_json(as_json(facts, faults))
    else:
        _tell(facts, faults, everything=args.all)
    return int(any(item.severity == "error" for item in faults))


def wants_of(target: Target, args: argparse.Namespace) -> CheckSettings:
    """What the recipe says about sizes, trigger and length; what the options say where there is
    none.
    """
    from lorakit.dataset.buckets import BucketRules
    from lorakit.dataset.build.manifest import letterboxed

    off = known_rules([*target.rules_off, *args.off], "rules_off")
    if target.resolved is None:
        rules = BucketRules(read_size(args.resolution), max=2048) if args.resolution else None
        return CheckSettings(args.trigger, rules, off=off, letterboxed=letterboxed(target.root))
    from lorakit.recipe.options import bucket_rules, flag, whole

    resolved = target.resolved
    exact = (
        not flag(resolved, "enable_bucket")
        and not flag(resolved, "cache_latents")
        and not flag(resolved, "random_crop")
    )
    limit = whole(resolved, "max_token_length", 75) if resolved.family in {"sd15", "sdxl"} else 0
    return CheckSettings(
        resolved.trigger,
        bucket_rules(resolved),
        exact_size=exact,
        token_limit=limit,
        off=off,
        letterboxed=letterboxed(target.root),
        **_limits(target),
    )


def _limits(target: Target) -> dict[str, Any]:
    """[dataset] rules = { crop_limit = 0.3, near_bits = 3 }."""
    from lorakit.errors import RecipeError, did_you_mean

    setting = target.resolved.dataset.get("rules") if target.resolved else None
    found = dict(setting.value) if setting else {}
    for name, value in found.items():
        if name not in LIMITS:
            raise RecipeError(
                f"[dataset] rules: no limit is called {name!r}. {did_you_mean(name, LIMITS)}".rstrip(),
                hint=f"There are {' and '.join(LIMITS)}.",
            )
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not isinstance(value, LIMITS[name])
            or value < 0
        ):
            raise RecipeError(f"[dataset] rules: {name} = {value!r} is not a number from 0 on.")
    return found


def read_size(text: str) -> tuple[int, int]:
    """512, 512x768 or 512,768."""
    from lorakit.errors import RecipeError

    sides = text.replace("x", ",").split(",")
    if not all(side.strip().isdecimal() and int(side) > 0 for side in sides) or len(sides) > 2:
        raise RecipeError(f"{text!r} is not a size.", hint="Write 512 or 768x512.")
    return int(sides[0]), int(sides[-1])


def as_json(facts: DatasetFacts, faults: tuple[Fault, ...]) -> dict[str, object]:
    counts = Counter(item.severity for item in faults)
    return {
        "root": facts.root,
        "images": facts.image_count,
        "errors": counts["error"],
        "warnings": counts["warning"],
        "faults": [
            {
                "rule": item.rule,
                "severity": item.severity,
                "where": item.where,
                "what": item.what,
                "hint": item.hint,
            }
            for item in faults
        ],
    }


def _tell(facts: DatasetFacts, faults: tuple[Fault, ...], *, everything: bool) -> None:
    by_rule: dict[str, list[Fault]] = defaultdict(list)
    for item in faults:
        by_rule[item.rule].append(item)
    root = f"{shown(facts.root)}/"
    rows = []
    for rule, group in by_rule.items():
        kept = group if everything else group[:FOLDED]
        rows += [
            (
                item.severity,
                rule,
                item.where.removeprefix(root),
                f"{item.what} {item.hint}".rstrip(),
            )
            for item in kept
        ]
        if len(kept) < len(group):
            rows.append(
                (
                    group[0].severity,
                    rule,
                    f"... and {len(group) - len(kept)} more",
                    "--all shows them",
                )
            )
    if rows:
        table(["", "rule", "where", "what"], rows)
    counts = Counter(item.severity for item in faults)
    tell(
        f"{facts.image_count} images in {len(facts.subsets)} subset(s): {counts['error']} errors,"
        f" {counts['warning']} warnings."
    )
