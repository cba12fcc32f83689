"""Likeness and faithfulness by models that the user names: opened as a tagger is, told apart, and a plain sentence where one is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_describers import write_describer

from lorakit.cli.main import main
from lorakit.runs.record import read_record

MOVES = {"maya": (60, 5), "maya-000002": (20, 15)}


def judge(run_dir: Path, python: str, *words: object) -> int:
    said = ["judge", str(run_dir), "--python", python, "--strengths", "1.0", *map(str, words)]
    return main(said)


def asks_really(tmp_path: Path, made_up: str) -> str:
    """A Python that makes losses and pictures up, and asks the models in earnest."""
    program = tmp_path / "asks-really"
    program.write_text(
        f'#!/bin/sh\ncase "$2" in *likeness) exec "{sys.executable}" "$@";; esac\nexec "{made_up}" "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["dinov2", "clip", pytest.param("siglip", marks=pytest.mark.long)])
def test_a_model_of_the_real_kind_compares(
    judged_run: Path, measurer: Any, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    model = write_describer(tmp_path / kind, kind)
    python = asks_really(tmp_path, measurer(maya=-1.0, maya_000002=-1.0, moves=MOVES))
    words = ["--likeness", model, *(["--faithful", model] if kind != "dinov2" else [])]
    assert judge(judged_run, python, *words) == 0
    found = read_record(judged_run).judged
    assert found.base is not None
    for seen in (found.base, *(cell.seen for cell in found.listed)):
        assert seen is not None
        assert -1 <= seen["likeness"] <= 1
        assert ("faithful" in seen) == (kind != "dinov2")
    said = capsys.readouterr().out
    assert "copies  likeness" in said
    what = "likeness: mean cosine of the pictures with the trigger to the training pictures, by "
    assert f"{what}{model} (model.safetensors sha256 " in said
    assert ("faithful: mean cosine of each picture to its prompt, by" in said) == (kind != "dinov2")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_same_pictures_are_wholly_alike_and_prompts_make_a_difference(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from PIL import Image

    model = write_describer(tmp_path / "clip", "clip")
    files = [str(tmp_path / f"{number}.png") for number in range(2)]
    for file in files:
        Image.new("RGB", (64, 64), "teal").save(file)
    jobs = [
        [{"file": file, "prompt": prompt} for file in files]
        for prompt in ("a fox in the snow", "blue eyes")
    ]
    order = {
        "models": {"likeness": str(model), "faithful": str(model)},
        "trained": files[:1],
        "asked": 2,
        "columns": [{"pictures": one} for one in jobs[:1]],
        "out": str(tmp_path / "out.json"),
    }
    from lorakit.embedded.judging.likeness import compare

    compare(order)
    first = json.loads((tmp_path / "out.json").read_text())
    compare({**order, "columns": [{"pictures": jobs[1]}]})
    second = json.loads((tmp_path / "out.json").read_text())
    assert first[0]["likeness"] == pytest.approx(1, abs=1e-4)
    assert first[0]["faithful"] != second[0]["faithful"]


def test_what_is_no_model_is_said_before_anything_is_measured(
    judged_run: Path, measurer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = measurer(maya=-1.0, maya_000002=-1.0, moves=MOVES)
    (tmp_path / "blip").mkdir()
    (tmp_path / "blip" / "config.json").write_text('{"model_type": "blip"}')
    assert judge(judged_run, python, "--likeness", tmp_path / "blip") == 1
    assert "blip holds a blip model; --likeness takes dinov2," in capsys.readouterr().err
    assert judge(judged_run, python, "--faithful", "nowhere") == 1
    said = capsys.readouterr().err
    assert "--faithful nowhere: neither a model nor a folder." in said
    assert "hf:owner/repo" in said
    assert not (tmp_path / "asked").exists()


def test_without_transformers_one_plain_sentence_names_the_extra(
    judged_run: Path, measurer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up = measurer(maya=-1.0, maya_000002=-1.0, moves=MOVES)
    program = tmp_path / "no-transformers"
    error = "ModuleNotFoundError: No module named 'transformers'"
    program.write_text(
        f'#!/bin/sh\ncase "$2" in *likeness) echo "{error}"; exit 1;; esac\nexec "{made_up}" "$@"\n'
    )
    program.chmod(0o755)
    model = tmp_path / "clip"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "clip"}')
    (model / "model.safetensors").write_bytes(b"x")
    assert judge(judged_run, str(program), "--likeness", model) == 1
    said = capsys.readouterr().err
    assert "No module named 'transformers'" in said
    assert 'pip install "lorakit[judge]"' in said
    assert read_record(judged_run).judged.listed, "what was measured is kept"
