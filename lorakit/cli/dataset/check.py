"""Every fault of a dataset at once, each with its file and what to do about it.

lorakit dataset check recipes/maya.toml
lorakit dataset check datasets/maya --off border --off near-duplicate
lorakit dataset check --rules            what each rule is for

Every image is decoded fully; a second run remembers what has not changed. Exit code 1 where there
are errors, 0 for warnings. In a recipe, [dataset] rules_off = ["border"] switches a rule off for
good; rules = { crop_limit = 0.3, near_bits = 3 } moves limits.
"""

import shlex
from collections import Counter, defaultdict
from typing import Any

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import Target, read_target
from lorakit.cli.terminal.next_step import next_for_dataset, say_next
from lorakit.cli.terminal.screen import counting
from lorakit.dataset.buckets import BucketRules
from lorakit.dataset.build.remembered import read_remembered
from lorakit.dataset.check import CheckSettings, check
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.rules import RULES, known_rules, shown
from lorakit.errors import Fault, RecipeError, counted, did_you_mean
from lorakit.show import print_json, say, table

LIMITS: dict[str, Any] = {"crop_limit": (int, float), "near_bits": int}
FOLDED = 5  # faults of one rule that are shown before the rest is counted


def add_arguments(parser: Parser) -> None:
    parser.dataset(nargs="?")
    parser.many("--off", "RULE", "leave this rule out; repeatable")
    parser.flag("--rules", "list every rule and why it matters, and stop")
    parser.value("--trigger", "TRIGGER", "the trigger, where a bare folder is given")
    about = "judge sizes against this resolution, where a bare folder is given"
    parser.value("--resolution", "WxH", about)
    parser.flag("--text", "look for words inside the pictures, too, such as watermarks (slow)")
    parser.flag("--all", "show every fault, also the many of one kind")
    parser.json()


def run(args: Arguments) -> int:
    if args.rules or not args.target:
        rows = [(rule.name, rule.severity, rule.why) for rule in RULES.values()]
        if args.json:
            print_json([{"rule": name, "severity": how, "why": why} for name, how, why in rows])
        else:
            table(["rule", "severity", "why it matters"], rows)
        return 0 if args.rules else 2
    target = read_target(args.target)
    settings = settings_of(target, args)
    facts = target.scan()
    with counting("looking") as progress:
        faults = check(facts, settings, progress=progress)
    counts = Counter(item.severity for item in faults)
    wrong = bool(counts["error"])
    if args.json:
        found = {"errors": counts["error"], "warnings": counts["warning"], "faults": faults}
        print_json({"root": facts.root, "images": facts.image_count, **found})
        return int(wrong)
    _report(facts, faults, everything=args.all)
    dropped = len(read_remembered(facts.root).dropped)
    say(
        f"{counted(facts.image_count, 'image')} in {counted(len(facts.subsets), 'subset')}:"
        f" {counted(counts['error'], 'error')}, {counted(counts['warning'], 'warning')}."
        + (f" {dropped} dropped." if dropped else "")
    )
    if wrong and facts.image_count:
        say_next(f"lorakit dataset review {shlex.quote(args.target)}", "fix them, and check again")
    else:
        say_next(*next_for_dataset(target, after="check", facts=facts))
    return int(wrong)


def settings_of(target: Target, args: Arguments) -> CheckSettings:
    """What the recipe says about sizes, trigger and length; what the options say without one."""
    off = known_rules([*target.rules_off, *args.off], "rules_off")
    options = target.options
    if options is None:
        rules = BucketRules(read_size(args.resolution), max=2048) if args.resolution else None
        return CheckSettings(args.trigger, rules, text=args.text, off=off)
    exact = not any(map(options.flag, ("enable_bucket", "cache_latents", "random_crop")))
    return CheckSettings(
        target.trigger,
        options.bucket_rules,
        exact_size=exact,
        token_limit=options.token_limit,
        text=args.text,
        off=off,
        **_limits(target),
    )


def _limits(target: Target) -> dict[str, Any]:
    """[dataset] rules = { crop_limit = 0.3, near_bits = 3 }."""
    setting = target.resolved.dataset.get("rules") if target.resolved else None
    found = dict(setting.value) if setting else {}
    for name, value in found.items():
        if name not in LIMITS:
            what = f"[dataset] rules: no limit is called {name!r}. {did_you_mean(name, LIMITS)}"
            raise RecipeError(what.rstrip(), hint=f"There are {' and '.join(LIMITS)}.")
        if isinstance(value, bool) or not (isinstance(value, LIMITS[name]) and value >= 0):
            raise RecipeError(f"[dataset] rules: {name} = {value!r} is not a number from 0 on.")
    return found


def read_size(text: str) -> tuple[int, int]:
    """512, 512x768 or 512,768."""
    sides = text.replace("x", ",").split(",")
    if not all(side.strip().isdecimal() and int(side) > 0 for side in sides) or len(sides) > 2:
        raise RecipeError(f"{text!r} is not a size.", hint="Write 512 or 768x512.")
    return int(sides[0]), int(sides[-1])


def _report(facts: DatasetFacts, faults: tuple[Fault, ...], *, everything: bool) -> None:
    by_rule: dict[str, list[Fault]] = defaultdict(list)
    for item in faults:
        by_rule[item.rule].append(item)
    root = f"{shown(facts.root)}/"
    rows = []
    for rule, group in by_rule.items():
        rows += [
            (one.severity, rule, one.where.removeprefix(root), one.advice)
            for one in (group if everything else group[:FOLDED])
        ]
        if len(group) > FOLDED and not everything:
            more = f"... and {len(group) - FOLDED} more"
            rows.append((group[0].severity, rule, more, "--all shows them"))
    if rows:
        table(["", "rule", "where", "what"], rows)
