"""The schemas of recipes and presets: current, true for every page there is, and of use in an editor."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lorakit import json_text, tomllib
from lorakit.cli.main import main
from lorakit.recipe.new_recipe import schema_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from make_schema import preset_schema, recipe_schema  # noqa: E402

KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


def broken(schema: Mapping[str, Any], value: Any, at: str = "") -> Iterator[str]:
    """The little of JSON Schema that ours use, so that the test needs no package."""
    if "$ref" in schema:  # a stage has the recipe's own sections
        section = recipe_schema()["properties"][schema["$ref"].rpartition("/")[2]]
        yield from broken(section, value, at)
    if "anyOf" in schema:
        ways = [[*broken({**one}, value, at)] for one in schema["anyOf"]]
        if all(ways):
            yield f"{at}: fits none"
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    fits = [
        isinstance(value, KINDS[one]) and (one == "boolean") == isinstance(value, bool)
        for one in kinds
    ]
    if kinds and not any(fits):
        yield f"{at}: {value!r} is none of {kinds}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is not a choice"
    if isinstance(value, (int, float)) and value < schema.get("minimum", value):
        yield f"{at}: {value} is too small"
    if isinstance(value, list):
        for one in value:
            yield from broken(schema.get("items", {}), one, at)
    if isinstance(value, dict):
        properties, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        yield from (
            f"{at}.{key}: is missing" for key in schema.get("required", ()) if key not in value
        )
        for key, one in value.items():
            if key in properties or isinstance(more, dict):
                yield from broken(properties.get(key, more), one, f"{at}.{key}")
            elif more is False:
                yield f"{at}.{key}: there is no such key"


@pytest.mark.parametrize("name", ["recipe", "preset"])
def test_the_committed_schema_is_what_the_catalogue_gives(name: str) -> None:
    made = recipe_schema() if name == "recipe" else preset_schema()
    assert json_text.read(schema_file(name)) == made, "python tools/make_schema.py"


def test_a_file_of_several_families_is_described_as_each_of_them_means_it() -> None:
    model = recipe_schema()["properties"]["model"]["properties"]
    assert model["base"]["description"].startswith("The weights to train on")
    said = model["text_encoder"]["description"]
    assert "Qwen3 4B" in said
    assert "Krea 2" in said


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda one: one.stem
)
def test_every_recipe_of_ours_fits(path: Path) -> None:
    assert [*broken(recipe_schema(), tomllib.loads(path.read_text("utf-8")))] == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "presets").glob("*.toml")), ids=lambda one: one.stem
)
def test_every_preset_of_ours_fits(path: Path) -> None:
    assert [*broken(preset_schema(), tomllib.loads(path.read_text("utf-8")))] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('preset = "sdxl"\n[train]\nnetwrok_dim = 8', ".train.netwrok_dim: there is no such key"),
        ('preset = "sdxl"\n[train]\nnetwork_dim = "big"', ".train.network_dim: 'big' is none of"),
        ('preset = "sdxl"\n[train]\nnetwork_dim = 0', ".train.network_dim: 0 is too small"),
        ('preset = "sdxl"\n[train]\nmixed_precision = "bf61"', "'bf61' is not a choice"),
        ('preset = "sdxl"\n[train]\ncache_latents = 1', ".train.cache_latents: 1 is none of"),
        ('preset = "sdxl"\n[sample]\nsampler = "eular"', "'eular' is not a choice"),
        ('preset = "sdxl"\ntrainer = "kohay"', "'kohay' is not a choice"),
        ('name = "maya"', "fits none"),
        ('preset = "sdxl"\n[train]\noutput_dir = "x"', ".train.output_dir: there is no such key"),
        ('preset = "sdxl"\n[[stage]]\nname = "a"\ntrain.lr = 1', ".stage.train.lr: there is no"),
    ],
)
def test_a_mistake_is_marked(text: str, said: str) -> None:
    assert any(said in one for one in broken(recipe_schema(), tomllib.loads(text)))


def test_a_new_recipe_names_the_schema_that_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["new", "maya", "--preset", "sdxl", "--trigger", "maya_char"])
    main(["new", "finn", "--like", "recipes/maya.toml", "--trigger", "finn_char"])
    for name in ("maya", "finn"):
        text = Path(f"recipes/{name}.toml").read_text()
        assert text.startswith("#:schema ./.recipe.schema.json\n") and text.count("#:schema") == 1
        assert [*broken(recipe_schema(), tomllib.loads(text))] == []
    assert Path("recipes/.recipe.schema.json").read_bytes() == schema_file("recipe").read_bytes()


def test_taplo_reads_the_directive_and_marks_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = Path(sys.executable).parent / "taplo"
    taplo = str(beside) if beside.exists() else shutil.which("taplo")
    if taplo is None:
        pytest.skip("no taplo here (pip install taplo)")
    monkeypatch.chdir(tmp_path)
    main(["new", "maya", "--preset", "sdxl", "--trigger", "maya_char"])
    recipe = Path("recipes/maya.toml")
    lint = [taplo, "lint", "--no-auto-config", str(recipe)]
    done = subprocess.run(lint, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    recipe.write_text(recipe.read_text().replace("[train]", "[train]\nnetwrok_dim = 8\n#", 1))
    done = subprocess.run(lint, capture_output=True, text=True)
    assert done.returncode != 0
    assert "netwrok_dim" in done.stderr
