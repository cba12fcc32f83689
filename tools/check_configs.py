"""Plan a folder of sd-scripts configs that other people wrote, to see what lorakit refuses.

    python tools/check_configs.py FOLDER [--family sdxl] [--real]

Every TOML or JSON file with sd-scripts' own names, or its best-known GUI's, becomes a recipe over a
drawn dataset and weights that are not there yet, and is planned for a 24 GB CUDA card. Paths,
secrets, missing packages and whatever else is a machine's or a person's own do not count.
The family follows from the names in the file, else --family, else sd15. Prints a line for each:
accepted or refused, and why. Exits 1 where one is refused. Reads the files, keeps nothing.

--real hands every plan that was accepted to the configured sd-scripts: its own parser, checks and
dataset classes read the files, as tests/plan/dataset_probe.py asks them, and must count as many
steps. Exits 1, too, where they refuse one or count otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE / "tests")]

from plan_cases import CUDA, folder  # noqa: E402  (the tool runs from a plain checkout of ours)

from lorakit import proc, tomllib  # noqa: E402
from lorakit.catalogue.options import options  # noqa: E402
from lorakit.errors import Fault, LorakitError  # noqa: E402
from lorakit.exchange.read import read_thing  # noqa: E402
from lorakit.exchange.take import take_over  # noqa: E402
from lorakit.families import FAMILIES, run_by  # noqa: E402
from lorakit.plan.make import make_plan  # noqa: E402
from lorakit.plan.model import Plan  # noqa: E402
from lorakit.recipe.resolve import resolve  # noqa: E402
from lorakit.recipe.schema import WRITTEN_BY_US  # noqa: E402
from lorakit.rehearse.rehearse import SPARED  # noqa: E402
from lorakit.toml_text import value_text  # noqa: E402
from lorakit.trainers.kohya.locate import require  # noqa: E402

# Where a person keeps things: no part of how they train.
PATHS = (
    *("vae", "base_weights", "log_tracker_config", "metadata_thumbnail", "output_name"),
    "dim_from_weights",  # network_weights, too, is a path
)
OWN = SPARED | {"package-missing", "unbucketed-size", "unbucketed-crop"}
PROBE = HERE / "tests" / "plan" / "dataset_probe.py"
LEAST = 5  # names of sd-scripts, or a file is something else


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--family", choices=list(run_by("kohya")), default="")
    parser.add_argument("--real", action="store_true", help="ask sd-scripts about each accepted")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="lorakit-configs-") as name:
        return check(asked, Path(name))


def check(asked: argparse.Namespace, home: Path) -> int:
    refused = accepted = 0
    plans: dict[str, Plan] = {}
    for file in sorted((*asked.folder.rglob("*.toml"), *asked.folder.rglob("*.json"))):
        said = read(file)
        if said is None:
            print(f"-         {file.relative_to(asked.folder)}: no sd-scripts config")
            continue
        where = str(file.relative_to(asked.folder))
        plan, found = judge(said, asked.family, home / str(len(plans) + refused))
        faults = [fault for fault in found if fault.severity == "error"]
        if plan and not faults:
            plans[where] = plan
        refused, accepted = refused + bool(faults), accepted + (not faults)
        print(f"{'refused ' if faults else 'accepted'}  {where}")
        for fault in faults:
            print(f"          {fault.where.partition(' ')[2] or fault.where}: {fault.what}")
    print(f"{accepted} accepted, {refused} refused")
    wrong = ask_real(plans, home) if asked.real else 0
    return 1 if refused or wrong else 0


def ask_real(plans: Mapping[str, Plan], home: Path) -> int:
    """How many of the accepted plans sd-scripts itself refuses, or counts otherwise."""
    located = require()
    cases = []
    for plan in plans.values():
        plan.run_dir.mkdir()
        for name, text in plan.files.items():
            (plan.run_dir / name).write_text(text, encoding="utf-8")
        toml, processes = str(plan.run_dir / "train.toml"), plan.steps.processes
        script = FAMILIES[plan.resolved.family].script
        cases.append({"script": script, "toml": toml, "processes": processes})
    (home / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(located.directory), "HF_HUB_OFFLINE": "1"}
    words = [str(located.python), str(PROBE), str(home / "cases.json")]
    answer = proc.ask(words, cwd=located.directory, env=env, timeout_s=600)
    if answer.code != 0:
        sys.exit(answer.err[-3000:])
    wrong = 0
    for (where, plan), real in zip(
        plans.items(), json.loads(answer.out.splitlines()[-1]), strict=True
    ):
        same = (real.get("batches"), real.get("total")) == (plan.steps.batches, plan.steps.total)
        if not same:
            said = real.get("error") or f"{real['total']} steps, not {plan.steps.total}"
            print(f"sd-scripts  {where}: {said}")
        wrong += not same
    print(f"{len(plans)} read by sd-scripts itself, {wrong} refused or counted otherwise")
    return wrong


def read(file: Path) -> dict[str, Any] | None:
    """Flat, as the scripts read it; None where it is not a config of theirs."""
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    try:
        data = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError):
        return None
    flat = dict(_flat(data)) if isinstance(data, dict) else {}
    known = {name for one in run_by("kohya").values() for name in options("kohya", one.script)}
    if {"LoRA_type", "max_resolution"} & set(flat):
        return _from_gui(file)
    if "datasets" in flat:  # a dataset file
        return None
    return flat if len(known & set(flat)) >= LEAST else None


def _from_gui(file: Path) -> dict[str, Any]:
    """As `lorakit import` takes it over."""
    taken = take_over(read_thing(str(file), file.parent), file.parent)
    train = {place[1]: one for place, one in taken.values.items() if place[0] == "train"}
    return {**train, "family": taken.family}


def _flat(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if key == "metadata":  # a user interface's own words about its preset
            continue
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield key, value


def judge(said: Mapping[str, Any], family: str, root: Path) -> tuple[Plan | None, list[Fault]]:
    folder(root / "data/10_maya_char", [(1024, 1024), (832, 1216)])
    file = root / "recipes" / "theirs.toml"
    file.parent.mkdir()
    file.write_text(recipe_text(said, family or family_of(said)), encoding="utf-8")
    try:
        resolved, faults = resolve(file)
        plan = make_plan(resolved, faults, run_dir=root / "run", machine=CUDA)
    except LorakitError as error:
        return None, [*error.faults, Fault(str(file), error.message)]
    return plan, [fault for fault in plan.faults if fault.rule not in OWN]


def family_of(said: Mapping[str, Any]) -> str:
    if "family" in said:
        return str(said["family"])
    text = json.dumps(said, default=str).lower()
    if said.get("clip_l") or said.get("t5xxl") or "lora_flux" in text or "chroma" in text:
        return "flux"
    words = ("sdxl", "sd_xl", "pony", "illustrious", "noobai", "animagine")
    return "sdxl" if any(word in text for word in words) else "sd15"


def recipe_text(said: Mapping[str, Any], family: str) -> str:
    """Their settings under [train]; what lorakit writes itself is said where a recipe says it."""
    ours = {*WRITTEN_BY_US, *PATHS, "caption_extension", "family"}
    train = {key: value for key, value in said.items() if key not in ours and value is not None}
    weights = "\n".join(f'{one.key} = "{one.key}.safetensors"' for one in FAMILIES[family].weights)
    lines = [f"{key} = {value_text(value)}" for key, value in train.items()]
    head = f'family = "{family}"\nname = "theirs"\ntrigger = "maya_char"\n'
    sections = f'[model]\n{weights}\n[dataset]\npath = "data"\n[train]\n'
    return "\n".join([head, sections, *lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
