"""Folder names and buckets, 10,000 random inputs each, against the functions of the real sd-scripts; and golden values that run everywhere."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lorakit.dataset.buckets import BucketRules, Chooser, UnfitError, check
from lorakit.dataset.facts import parse_folder

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "kohya_answers.json"
Question = dict[str, Any]


def random_name(rng: random.Random) -> str:
    head = rng.choice(
        [
            "",
            "1",
            "10",
            "010",
            "+4",
            "-3",
            "0",
            " 5",
            "5 ",
            "３",
            "٣",
            "x",
            "2.0",
            "1e1",
            "10-",
            "--1",
            "00",
            "𝟗",
            "½",
            "1 0",
            "\u00a07",
            "²",
        ]
    )
    tail = "".join(
        rng.choice(["_", "__", "a", "0", "_x", " ", "é", "b c", "-", "7"])
        for _ in range(rng.randint(0, 4))
    )
    return (head + tail).strip("/") or "_"


def random_rule(rng: random.Random, sizes: int) -> list[Any]:
    width = rng.choice([64, 256, 500, 512, 768, 1024, 1280])
    height = width if rng.random() < 0.6 else rng.choice([512, 640, 768, 1024])
    rule = [
        width,
        height,
        rng.random() < 0.9,
        rng.choice([32, 64, 200, 256, 320, 512]),
        rng.choice([512, 1000, 1024, 1536, 2048]),
        rng.choice([8, 16, 32, 64, 64, 64, 96]),
        rng.random() < 0.4,
    ]
    near = [
        [
            rng.choice([16, 63, 64, 65, 512, 1024, 3000, 4000, 20000]),
            rng.choice([1, 40, 64, 576, 1024, 1536, 6000]),
        ]
        for _ in range(sizes // 4)
    ]
    return [
        *rule,
        near + [[rng.randint(1, 6000), rng.randint(1, 6000)] for _ in range(sizes - len(near))],
    ]


def make_question(names: int, rules: int, sizes: int) -> Question:
    rng = random.Random(20)
    return {
        "names": [random_name(rng) for _ in range(names)],
        "rules": [random_rule(rng, sizes) for _ in range(rules)],
    }


def our_name(name: str) -> list[Any] | None:
    parsed = parse_folder(name)
    return [parsed.repeats, parsed.class_tokens] if parsed else None


def our_placements(rule: list[Any]) -> list[list[float] | None] | None:
    width, height, enable, low, high, step, no_upscale, sizes = rule
    rules = BucketRules((width, height), enable, low, high, step, no_upscale)
    return None if check(rules) else [one(Chooser(rules), *size) for size in sizes]


def one(chooser: Chooser, width: int, height: int) -> list[float] | None:
    try:
        placement = chooser.choose(width, height)
    except UnfitError:
        return None
    return [*placement.bucket, *placement.scaled, placement.error]


def assert_equal_to(answer: dict[str, Any], question: Question) -> None:
    assert [our_name(name) for name in question["names"]] == answer["names"]
    for rule, theirs in zip(question["rules"], answer["placements"], strict=True):
        ours = our_placements(rule)
        assert (ours is None) == (theirs is None), rule[:7]
        for size, mine, real in (
            zip(rule[7], ours, theirs, strict=True)
            if ours is not None and theirs is not None
            else ()
        ):
            empty = real is not None and not (
                real[0] and real[1]
            )  # kohya goes on with a bucket of width 0 and fails later
            assert mine == (None if empty else real), (rule[:7], size)


def test_folder_names_and_buckets_are_what_kohya_answered_once() -> None:
    kept = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert_equal_to(kept["answer"], kept["question"])
    assert sum(name is None for name in kept["answer"]["names"]) > 50
    assert sum(places is None for places in kept["answer"]["placements"]) > 2


def ask_kohya(checkout: Path, python: str, question: Question) -> dict[str, Any]:
    done = subprocess.run(
        [python, str(HERE / "kohya_answers.py")],
        input=json.dumps({**question, "checkout": str(checkout)}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.real
@pytest.mark.slow
def test_ten_thousand_random_folder_names_and_sizes_are_read_as_kohya_reads_them(
    sd_scripts: Path,
) -> None:
    from lorakit import config

    python = config.user_setting("sd_scripts_python")
    assert python is not None
    question = make_question(10_000, 100, 100)
    assert_equal_to(ask_kohya(sd_scripts, python[0], question), question)


if (
    __name__ == "__main__"
):  # python tests/dataset/test_against_kohya.py CHECKOUT PYTHON: writes the golden values anew
    asked = make_question(300, 40, 30)
    GOLDEN.write_text(
        json.dumps(
            {"question": asked, "answer": ask_kohya(Path(sys.argv[1]), sys.argv[2], asked)},
            separators=(",", ":"),
        ),
        encoding="utf-8",
    )
