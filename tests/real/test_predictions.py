"""What the plan predicts equals what the real script computes from the same files, with its own classes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from drawn_images import draw

from lorakit.dataset.buckets import BucketRules, Chooser, UnfitError
from lorakit.dataset.facts import parse_folder
from lorakit.files import write_atomic
from lorakit.machine import Gpu, Machine
from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan
from lorakit.recipe.resolve import resolve

pytestmark = pytest.mark.real

CUDA = Machine("Linux", "x86_64", 8, 64 << 30, (Gpu("A card", 24 << 30),))
SCRIPTS = {
    "sd15": "train_network.py",
    "sdxl": "sdxl_train_network.py",
    "flux": "flux_train_network.py",
}
MIXED = [
    (640, 480),
    (480, 640),
    (512, 512),
    (1024, 576),
    (300, 900),
    (768, 512),
    (511, 513),
    (900, 300),
]


@dataclass(frozen=True)
class Case:
    train: dict[str, Any] = field(default_factory=dict)
    folders: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {"10_ball": MIXED})
    reg: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    family: str = "sd15"
    dataset: str = ""


BUCKETS = {"enable_bucket": True, "resolution": "512"}
CASES = {
    "one batch at a time, one size": Case({"resolution": "512"}, {"7_ball": [(512, 512)] * 5}),
    "every shape, batches of 2": Case({**BUCKETS, "train_batch_size": 2}),
    "batches of 4, accumulated": Case(
        {**BUCKETS, "train_batch_size": 4, "gradient_accumulation_steps": 2, "max_train_epochs": 3}
    ),
    "three folders, three repeats": Case(
        {**BUCKETS, "train_batch_size": 3},
        {"1_a": MIXED[:3], "5_b c": MIXED[2:], "12_d_e": MIXED[4:6]},
    ),
    "too few regularisation images": Case(
        {**BUCKETS, "train_batch_size": 2}, reg={"1_thing": MIXED[:3]}
    ),
    "too many regularisation images": Case(
        BUCKETS, {"2_ball": MIXED[:3]}, reg={"1_thing": MIXED, "3_other": MIXED[:4]}
    ),
    "never enlarged": Case({**BUCKETS, "bucket_no_upscale": True, "train_batch_size": 2}),
    "some held out": Case(
        {**BUCKETS, "validation_split": 0.2, "train_batch_size": 2},
        {"3_a": MIXED, "2_b": MIXED * 2},
    ),
    "some held out beside regularisation": Case(
        {**BUCKETS, "validation_split": 0.3, "seed": 7}, {"3_a": MIXED * 2}, reg={"1_thing": MIXED}
    ),
    "buckets off": Case({"resolution": "512", "train_batch_size": 3}),
    "steps instead of epochs": Case({**BUCKETS, "max_train_steps": 100, "train_batch_size": 2}),
    "SDXL in steps of 32": Case(
        {
            "enable_bucket": True,
            "resolution": "1024",
            "bucket_reso_steps": 32,
            "max_bucket_reso": 2048,
            "train_batch_size": 2,
        },
        family="sdxl",
    ),
    "FLUX at 768": Case(
        {
            "enable_bucket": True,
            "resolution": "768,768",
            "max_bucket_reso": 1536,
            "train_batch_size": 3,
        },
        family="flux",
    ),
    "a tall resolution": Case(
        {
            "enable_bucket": True,
            "resolution": "512,768",
            "min_bucket_reso": 320,
            "train_batch_size": 2,
        }
    ),
    "wide steps": Case(
        {
            "enable_bucket": True,
            "resolution": "640",
            "bucket_reso_steps": 128,
            "max_bucket_reso": 1400,
        }
    ),
    "a folder with repeats of its own": Case(
        BUCKETS, {"2_a": MIXED, "3_b": MIXED}, dataset='[dataset.subset."2_a"]\nnum_repeats = 9\n'
    ),
}


def any_case(number: int) -> Case:
    """A dataset and settings drawn by number; the same number, the same case."""
    dice = random.Random(number)
    sizes = [(dice.randint(260, 1400), dice.randint(260, 1400)) for _ in range(12)]
    pick: Any = lambda: dice.choices(sizes, k=dice.randint(1, 9))  # noqa: E731  (read once, just below)
    train = {
        "enable_bucket": dice.random() < 0.8,
        "resolution": dice.choice(["512", "384,640", "448"]),
        "train_batch_size": dice.randint(1, 5),
        "gradient_accumulation_steps": dice.randint(1, 4),
        "bucket_no_upscale": dice.random() < 0.3,
        "seed": dice.randint(0, 99),
    }
    if dice.random() < 0.3:
        train["validation_split"] = dice.choice([0.1, 0.25, 0.5])
    reg = {f"{dice.randint(1, 4)}_thing": pick()} if dice.random() < 0.4 else {}
    return Case(
        train,
        {f"{dice.randint(1, 30)}_{name}": pick() for name in "abc"[: dice.randint(1, 3)]},
        reg,
    )


CASES |= {f"drawn case {number}": any_case(number) for number in range(16)}


def plan_of(case: Case, place: Path) -> Plan:
    for name, sizes in case.folders.items():
        draw(place / "data" / name, sizes)
    for name, sizes in case.reg.items():
        draw(place / "reg" / name, sizes, caption=None)
    train = {"network_dim": 4, "network_alpha": 4, "learning_rate": 1e-4, **case.train}
    if "max_train_steps" not in train:
        train.setdefault("max_train_epochs", 2)
    lines = "".join(
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}\n"
        for key, value in train.items()
    )
    reg = 'reg_path = "reg"\n' if case.reg else ""
    text = f'family = "{case.family}"\nname = "ball"\ntrigger = "ball"\n[dataset]\npath = "data"\n{reg}{case.dataset}[train]\n{lines}'
    write_atomic(place / "ball.toml", text.replace("'", '"'))
    resolved, faults = resolve(place / "ball.toml")
    assert [fault for fault in faults if fault.severity == "error"] == []
    plan = make_plan(resolved, run_dir=place / "run", machine=CUDA)
    for name, content in plan.files.items():
        write_atomic(place / "run" / name, content)
    return plan


def predicted(plan: Plan) -> dict[str, Any]:
    steps = plan.steps
    return {
        "batches": steps.batches,
        "train_images": steps.train_images,
        "reg_images": steps.reg_images,
        "validation_images": steps.validation_images,
        "buckets": sorted(
            [[bucket.width, bucket.height], bucket.draws] for bucket in steps.buckets
        ),
    }


def test_steps_and_buckets_are_predicted_for_every_dataset(put: Any, tmp_path: Path) -> None:
    plans = {
        name: plan_of(case, tmp_path / f"case{number}")
        for number, (name, case) in enumerate(CASES.items())
    }
    answers = put(
        {
            name: {
                "kind": "start",
                "script": SCRIPTS[CASES[name].family],
                "train_toml": str(plan.run_dir / "train.toml"),
            }
            for name, plan in plans.items()
        }
    )
    wrong = {}
    for name, plan in plans.items():
        found = answers[name].get("ok")
        if found is None:
            wrong[name] = answers[name]["failed"]
            continue
        found.pop("held_out")
        if found != predicted(plan):
            wrong[name] = {"script": found, "plan": predicted(plan)}
    assert wrong == {}
    assert len(plans) == 32


def folder_names(count: int) -> list[str]:
    dice = random.Random(1)
    pieces = [
        "1",
        "12",
        "0",
        "007",
        "_",
        "__",
        "-",
        "+",
        " ",
        ".",
        "x",
        "e",
        "1e1",
        "3.0",
        "ball",
        "a_b",
        "３",
        "٤",
        "²",
        "½",
        "\t",
        "é",
        "球",
    ]
    names = {
        dice.choice(["", "3_", "21_"]) + "".join(dice.choices(pieces, k=dice.randint(1, 6)))
        for _ in range(count * 2)
    } - {".", ".."}
    return sorted(names)[:count]


def test_folder_names_are_read_as_the_script_reads_them(put: Any, tmp_path: Path) -> None:
    names = folder_names(10_000)
    assert len(names) == 10_000
    for name in names:
        (tmp_path / "many" / name).mkdir(parents=True)
    answer = put({"names": {"kind": "folders", "root": str(tmp_path / "many")}})["names"]["ok"]
    script = {Path(place).name: (repeats, tokens) for place, repeats, tokens in answer}
    ours = {
        name: (found.repeats, found.class_tokens) for name in names if (found := parse_folder(name))
    }
    assert len(ours) > 1000
    assert ours == script


def bucket_cases(count: int) -> list[tuple[dict[str, Any], list[tuple[int, int]]]]:
    dice = random.Random(2)
    cases = []
    for _ in range(count):
        rules = {
            "resolution": [
                dice.choice([256, 512, 640, 768, 1000, 1024]),
                dice.choice([256, 512, 768, 1024]),
            ],
            "min": dice.choice([64, 128, 256, 300]),
            "max": dice.choice([1024, 1100, 1536, 2048]),
            "step": dice.choice([16, 32, 64, 128]),
            "no_upscale": dice.random() < 0.4,
        }
        cases.append((rules, [(dice.randint(1, 3000), dice.randint(1, 3000)) for _ in range(50)]))
    return cases


def our_choice(chooser: Chooser, width: int, height: int) -> Any:
    try:
        placed = chooser.choose(width, height)
    except UnfitError:
        return "none"
    return [list(placed.bucket), list(placed.scaled), placed.error]


def test_buckets_are_chosen_as_the_script_chooses_them(put: Any) -> None:
    cases = bucket_cases(240)
    answers = put({"buckets": {"kind": "buckets", "cases": cases}})["buckets"]["ok"]
    compared, wrong = 0, list[Any]()
    for (rules, sizes), answer in zip(cases, answers, strict=True):
        chosen = BucketRules(
            tuple(rules["resolution"]),
            True,
            rules["min"],
            rules["max"],
            rules["step"],
            rules["no_upscale"],
        )
        try:
            chooser = Chooser(chosen)
        except ValueError:
            if not str(answer).startswith("refused"):
                wrong.append((rules, "refused by us alone"))
            continue
        for size, theirs in zip(sizes, answer, strict=True):
            compared += 1
            ours = our_choice(chooser, *size)
            if ours != (
                "none" if isinstance(theirs, str) or 0 in theirs[0] else theirs
            ):  # a bucket 0 wide breaks when images are cut
                wrong.append((rules, size, ours, theirs))
    assert wrong == []
    assert compared > 10_000
