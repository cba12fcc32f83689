"""The table of docs/trainers.md: family x trainer x preset, and how far each was tried.

It is made from the presets, from the families' trainers, and from the tests that are named below:
each of them must be there and must be run against the real program. `make docs` writes it,
`tests/test_docs.py` holds the page to it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lorakit.families import FAMILIES  # noqa: E402  (the tool runs from a plain checkout of ours)
from lorakit.recipe import presets  # noqa: E402

REAL, RECIPE = "tests/real", "tests/recipe/test_presets_real.py"
EMBEDDED = "tests/embedded/test_embedded_training.py"
BF16 = f"{EMBEDDED}::test_bf16_trains_close_to_float32_and_twice_alike"
AITK = f"{REAL}/test_ai_toolkit_real.py"
# What `lorakit` has really trained, to its end: on what, and the test of it.
RAN = {
    ("sd15", "kohya"): (
        "stand-in weights",
        f"{REAL}/test_end_to_end.py::test_it_ends_well_and_the_record_says_so",
    ),
    ("flux", "kohya"): (
        "two steps, a model cut to two blocks",
        f"{REAL}/test_flux.py::test_flux_is_rehearsed_without_any_of_its_weights",
    ),
    ("sd15", "embedded"): (
        "the toy base, until it shows the character",
        "tests/toy/test_demo.py::test_the_demo_teaches_the_character_and_forgets_nothing",
    ),
    ("sdxl", "embedded"): ("a small model of random weights", BF16),
    ("flux", "embedded"): ("a small model of random weights", BF16),
    ("zimage", "musubi"): (
        "a model with its constants shrunk",
        f"{REAL}/test_musubi.py::test_trained_as_planned_and_the_pictures_are_untouched",
    ),
    ("wan22", "musubi"): (
        "both experts, text and image to video, films, constants shrunk",
        f"{REAL}/test_musubi.py::test_both_experts_of_wan_are_trained_on_films_as_planned",
    ),
    ("sd15", "ai-toolkit"): (
        "the toy base",
        f"{AITK}::test_sd15_is_trained_as_planned_and_the_pictures_are_untouched",
    ),
    ("flux", "ai-toolkit"): (
        "a small model of random weights",
        f"{AITK}::test_a_transformer_is_trained_as_planned",
    ),
    ("wan22", "ai-toolkit"): (
        "both experts, small models of random weights",
        f"{AITK}::test_a_transformer_is_trained_as_planned",
    ),
}
# Whose own parser is handed every page of the trainer, and the test of that.
PARSED = {
    "kohya": "test_every_preset_passes_the_scripts_own_parsing_schema_and_assertions",
    "musubi": "test_every_preset_of_musubi_passes_its_scripts_own_parsing_and_schema",
    "ai-toolkit": "test_every_preset_of_ai_toolkit_passes_its_own_loader_which_knows_every_key",
}
WITHIN = {"chroma": "Chroma"}  # models of another family's script, by their page
HEAD = ("family", "trainer", "presets", "how far", "on what")
FROM_THE_LIST = "the option list that was read out of its source"


def table() -> str:
    """With the tests below it, each once, numbered as the rows name them."""
    found = list(rows())
    tests = [*dict.fromkeys(test for *_, test in found if test)]
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    for *cells, far, what, test in found:
        number = f" ({tests.index(test) + 1})" if test else ""
        lines.append(f"| {' | '.join((*cells, far + number, what))} |")
    proofs = [f"{number}. `{proof(test)}`" for number, test in enumerate(tests, start=1)]
    return "\n".join([*lines, "", *proofs])


def rows() -> Iterator[tuple[str, ...]]:
    pages = [presets.read(name) for name in presets.names()]
    for family, about in FAMILIES.items():
        for trainer in about.trainers:
            own = [one.name for one in pages if (one.family, one.trainer) == (family, trainer)]
            for name in sorted(WITHIN.keys() & own):
                own.remove(name)
                yield (f"`{family}` ({WITHIN[name]})", trainer, name, *parsed(trainer))
            said = ", ".join(own) or ("kohya's" if trainer == "embedded" else "none yet")
            if ran := RAN.get((family, trainer)):
                yield (f"`{family}`", trainer, said, "ran here", *ran)
            else:
                far = parsed(trainer) if own else ("planned", FROM_THE_LIST, "")
                yield (f"`{family}`", trainer, said, *far)


def parsed(trainer: str) -> tuple[str, str, str]:
    return "parsed by the real parser", "settings and dataset", f"{RECIPE}::{PARSED[trainer]}"


def proof(test: str) -> str:
    """The test's name where it is one, and asks for the real program (ours is the real one)."""
    file, _, name = test.partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    body = re.search(rf"((?:^@.*\n(?:^ .*\n|^\).*\n)*)*)^def {name}\(", text, flags=re.MULTILINE)
    ours = file.startswith(("tests/embedded", "tests/toy"))
    of_file = re.search(r"^pytestmark = .*mark\.real", text, flags=re.MULTILINE)
    if not body or not (ours or of_file or "mark.real" in body[1]):
        raise SystemExit(f"{test}: no such test against a real trainer")
    return test
