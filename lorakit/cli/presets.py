"""What exists, for which machine, where the numbers come from.

lorakit presets                              every preset: family, machine, title
lorakit presets --fits 12GB                  what that memory holds; also rtx3060, mps:32
lorakit presets show sdxl                    the page itself, with its comments
lorakit presets show sdxl-12gb --resolved    every value, and the page that set it
lorakit presets copy sdxl                    into this project's presets/, where it wins
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.errors import RecipeError
from lorakit.files import write_or_refuse
from lorakit.machine import Machine
from lorakit.plan.estimate import fitting
from lorakit.private import shown
from lorakit.recipe import presets
from lorakit.recipe.reading import preset_values
from lorakit.show import print_json, print_text, say, say_error, say_faults, size, table
from lorakit.toml_text import value_text

MEASURED = "measured on an H100"
SHOW = "lorakit presets show NAME says what a preset sets and why."


def add_arguments(parser: Parser) -> None:
    parser.json()
    about = "only what fits: 12GB, rtx3060, a100-40, mps:32; by what it needs, smallest first"
    parser.machine("--fits", "MEMORY", about)
    verbs = parser.add_subparsers(dest="verb", metavar="show|copy", title="verbs")
    show = verbs.add_parser("show", help="one page")
    show.value("name", "NAME")
    show.flag("--resolved", "every value with its source, the extended page included")
    show.flag("--json", "one JSON document", default=argparse.SUPPRESS)
    copy = verbs.add_parser("copy", help="a copy of a page in this project's presets/")
    copy.value("name", "NAME")
    copy.path("--to", "DIR", "another folder than presets/", default=Path("presets"))


def run(args: Arguments) -> int:
    if args.verb == "show":
        _show(args.name, resolved=args.resolved, as_json=args.json)
    elif args.verb == "copy":
        _copy(args.name, args.to)
    elif args.machine:
        _fitting(args.machine, as_json=args.json)
    else:
        return _list(as_json=args.json)
    return 0


def _list(*, as_json: bool) -> int:
    pages, failed = list[presets.Preset](), False
    for name in presets.names(Path.cwd()):
        try:
            pages.append(presets.read(name, Path.cwd()))
        except RecipeError as error:  # one bad page hides no other
            say_error(error)
            failed = True
    if as_json:
        print_json([{**_about(page), **page.about} for page in pages])
        return int(failed)
    columns = ("name", "family", "machine", "title")
    table(columns, [(*_named(one), one.about.get("machine", ""), one.title) for one in pages])
    if any(page.own for page in pages):
        say("", "* this project's own")
    say("", SHOW)
    return int(failed)


def _fitting(machine: Machine, *, as_json: bool) -> None:
    every = fitting(machine, Path.cwd())
    found = [one for one in every if one.verdict.word in {"fits", "may fit"}]
    if not found:
        what = f"No preset fits {size(machine.trains_on.memory_bytes)}."
        least = f"{every[0].preset.name}, with {size(every[0].needs.memory_low)}"
        raise RecipeError(what, hint=f"The smallest is {least}.")
    if as_json:
        more = [{"verdict": one.verdict, "basis": one.needs.basis} for one in found]
        pages = [{**_about(one.preset), **one.preset.about} for one in found]
        print_json([page | says for page, says in zip(pages, more, strict=True)])
        return
    rows = [
        (
            *_named(one.preset),
            f"{size(one.needs.memory_low)} to {size(one.needs.memory_high)}",
            one.verdict.word,
            one.preset.about.get("machine", "").partition(";")[0],
            one.needs.basis.partition(":")[0] if "rough" in one.needs.basis else MEASURED,
        )
        for one in found
    ]
    table(("name", "family", "memory", "verdict", "made for", "memory figure"), rows)
    say("", SHOW)


def _named(page: presets.Preset) -> tuple[str, str]:
    return page.name + " *" * page.own, page.family


def _about(page: presets.Preset) -> dict[str, Any]:
    base = page.base.name if page.base else None
    return {"name": page.name, "own": page.own, "extends": base}


def _show(name: str, *, resolved: bool, as_json: bool) -> None:
    page = presets.read(name, Path.cwd())
    if not resolved and not as_json:
        say_faults(page.faults)
        print_text(page.text.rstrip())
        return
    values, faults = preset_values(page)
    sections = {
        section: {
            key: replace(one, value=shown(section, key, one.value)) for key, one in settings.items()
        }
        for section, settings in values.items()
        if settings
    }
    say_faults(faults)
    if as_json:
        print_json({**_about(page), "about": page.about, **sections})
        return
    rows = [
        (f"[{section}]", key, value_text(setting.value), setting.source)
        for section, settings in sections.items()
        for key, setting in sorted(settings.items())
    ]
    table(("section", "key", "value", "source"), rows)


def _copy(name: str, folder: Path) -> None:
    page = presets.read(name)
    target = folder / f"{name}.toml"
    if folder.resolve() == presets.shipped_dir().resolve():
        hint = "Run it in your own project, or with --to DIR."
        raise RecipeError("This is where the shipped presets are.", hint=hint)
    write_or_refuse(target, page.text, "Rename it first, or copy with --to DIR.")
    say(f"Wrote {target}. In this project it is used instead of the shipped {name}.")
