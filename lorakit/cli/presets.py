"""What exists, for which machine, where the numbers come from.

examples:
  lorakit presets                              every preset: family, machine, title
  lorakit presets --fits 12GB                  what that memory holds; also rtx3060, mps:32
  lorakit presets show sdxl                    the page itself, with its comments
  lorakit presets show sdxl-12gb --resolved    every value, and the page that set it
  lorakit presets copy sdxl                    into this project's presets/, where it wins
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.cli.terminal.recipe_arguments import another_machine
from lorakit.errors import RecipeError
from lorakit.files import write_new
from lorakit.machine import Machine
from lorakit.plan.fit import fitting
from lorakit.private import shown
from lorakit.recipe import presets
from lorakit.recipe.reading import preset_values
from lorakit.show import print_json, print_text, say, say_error, say_faults, size, table
from lorakit.toml_text import value_text

MEASURED = "measured on an H100"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument(
        "--fits",
        dest="machine",
        metavar="MEMORY",
        type=another_machine,
        help="only what fits: 12GB, rtx3060, a100-40, mps:32; by what it needs, smallest first",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="show|copy", title="verbs")
    show = verbs.add_parser("show", help="one page", allow_abbrev=False)
    show.add_argument("name", metavar="NAME")
    show.add_argument(
        "--resolved",
        action="store_true",
        help="every value with its source, the extended page included",
    )
    show.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="one JSON document"
    )
    copy = verbs.add_parser(
        "copy", help="a copy of a page in this project's presets/", allow_abbrev=False
    )
    copy.add_argument("name", metavar="NAME")
    copy.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        default=Path("presets"),
        help="another folder than presets/",
    )


def run(args: argparse.Namespace) -> int:
    if args.verb == "show":
        return _show(args.name, resolved=args.resolved, as_json=args.json)
    if args.verb == "copy":
        return _copy(args.name, args.to)
    if args.machine:
        return _fitting(args.machine, as_json=args.json)
    return _list(as_json=args.json)


def _list(*, as_json: bool) -> int:
    root = Path.cwd()
    pages, failed = list[presets.Preset](), False
    for name in presets.names(root):
        try:
            pages.append(presets.read(name, root))
        except RecipeError as error:  # one bad page hides no other
            say_error(error)
            failed = True
    if as_json:
        print_json([{**_about(page), **page.about} for page in pages])
        return int(failed)
    table(
        ("name", "family", "machine", "title"),
        [
            (page.name + " *" * page.own, page.family, page.about.get("machine", ""), page.title)
            for page in pages
        ],
    )
    if any(page.own for page in pages):
        say("", "* this project's own")
    say("", "lorakit presets show NAME says what a preset sets and why.")
    return int(failed)


def _fitting(machine: Machine, *, as_json: bool) -> int:
    every = fitting(machine, Path.cwd())
    found = [one for one in every if one.verdict.word in {"fits", "may fit"}]
    if not found:
        raise RecipeError(
            f"No preset fits {size(machine.trains_on.memory_bytes)}.",
            hint=f"The smallest is {every[0].preset.name}, with {size(every[0].needs.memory_low)}."
            if every
            else "",
        )
    if as_json:
        print_json(
            [
                {**_about(one.preset), **one.preset.about, "verdict": one.verdict}
                | {"basis": one.needs.basis}
                for one in found
            ]
        )
        return 0
    columns = ("name", "family", "memory", "verdict", "made for", "memory figure")
    table(
        columns,
        [
            (
                one.preset.name + " *" * one.preset.own,
                one.preset.family,
                f"{size(one.needs.memory_low)} to {size(one.needs.memory_high)}",
                one.verdict.word,
                one.preset.about.get("machine", "").partition(";")[0],
                one.needs.basis.partition(":")[0] if "rough" in one.needs.basis else MEASURED,
            )
            for one in found
        ],
    )
    say("", "lorakit presets show NAME says what a preset sets and why.")
    return 0


def _about(page: presets.Preset) -> dict[str, Any]:
    base = page.base.name if page.base else None
    return {"name": page.name, "own": page.own, "extends": base}


def _show(name: str, *, resolved: bool, as_json: bool) -> int:
    page = presets.read(name, Path.cwd())
    if not resolved and not as_json:
        say_faults(page.faults)
        print_text(page.text.rstrip())
        return 0
    values, faults = preset_values(page)
    sections = {
        section: {
            key: replace(one, value=shown(section, key, one.value)) for key, one in settings.items()
        }
        for section, settings in values.items()
    }
    say_faults(faults)
    if as_json:
        filled = {section: settings for section, settings in sections.items() if settings}
        print_json({**_about(page), "about": page.about, **filled})
        return 0
    rows = [
        (f"[{section}]", key, value_text(setting.value), setting.source)
        for section, settings in sections.items()
        for key, setting in sorted(settings.items())
    ]
    table(("section", "key", "value", "source"), rows)
    return 0


def _copy(name: str, folder: Path) -> int:
    page = presets.read(name)
    target = folder / f"{name}.toml"
    if folder.resolve() == presets.shipped_dir().resolve():
        hint = "Run it in your own project, or with --to DIR."
        raise RecipeError("This is where the shipped presets are.", hint=hint)
    try:
        write_new(target, page.text)
    except FileExistsError:
        hint = "Rename it first, or copy with --to DIR."
        what = f"{target} is there already, and is left as it is."
        raise RecipeError(what, hint=hint) from None
    say(f"Wrote {target}. In this project it is used instead of the shipped {name}.")
    return 0
