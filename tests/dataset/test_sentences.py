"""Captions in sentences: by small models of the real architectures, through the whole pattern."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_describers import write_describer

from lorakit.cli.dataset import tagging
from lorakit.cli.main import main
from lorakit.dataset.captions.edit import view_of
from lorakit.dataset.captions.sentences import tidied, without_identity

Photo = Callable[..., Path]


def caption(root: Path, *words: object) -> int:
    return main(["dataset", "caption", str(root), "--trigger", "kai", *map(str, words)])


@pytest.fixture
def root(tmp_path: Path, photo: Photo) -> Path:
    for number, name in enumerate(("alexander_side_005", "alexander_portrait_1")):
        photo(tmp_path / f"data/10_kai/{name}.jpg", (96, 80), number)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("said", "left", "dropped"),
    [
        (
            "a woman with long brown hair and blue eyes standing in a park",
            "a woman standing in a park",
            ["long brown hair", "blue eyes"],
        ),
        (
            "A young man with short black hair, wearing a suit. His eyes are brown.",
            "A young man, wearing a suit.",
            ["short black hair", "His eyes are brown"],
        ),
        ("a girl with closed eyes, smiling", "a girl with closed eyes, smiling", []),
        ("a person with freckles and a round face", "a person", ["freckles", "a round face"]),
        ("blue eyes", "", ["blue eyes"]),
        ("a hairband on a table", "a hairband on a table", []),
    ],
)
def test_what_belongs_to_the_trigger_is_dropped_and_told(
    said: str, left: str, dropped: list[str]
) -> None:
    assert without_identity(said) == (left, dropped)


def test_what_a_model_says_again_and_again_is_said_once() -> None:
    assert tidied("a cat cat cat cat cat on\n a mat.") == "a cat on a mat"
    assert tidied("the man is, the man is, the man is, the man is") == "the man is"
    assert tidied("very, very good") == "very, very good"
    assert tidied(" . \n") == ""


def test_a_model_that_says_nothing_or_loops_is_told_with_its_pictures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = {Path("a.jpg"): " . ", Path("b.jpg"): "a cat, a cat, a cat", Path("c.jpg"): "a fox"}
    words, spoken = tagging._settled(argparse.Namespace(drop_identity=False), {}, said)
    assert (words, spoken) == ({}, {Path("b.jpg"): "a cat", Path("c.jpg"): "a fox"})
    told = capsys.readouterr().err
    assert "1 image got no sentence (a.jpg)" in told
    assert "1 image got the same words again and again (b.jpg)" in told


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("alexander_side_005", "profile view"),
        ("kai-full-body-3", "full body"),
        ("back (2)", "seen from behind"),
        ("outside_1", ""),
    ],
)
def test_a_file_name_says_how_the_character_is_seen(name: str, view: str) -> None:
    assert view_of(name) == view


def test_the_view_has_a_place_in_every_pattern(root: Path) -> None:
    assert caption(root, "--pattern", "{trigger}, anime boy, {view}, {rest}", "--write") == 0
    texts = [path.read_text() for path in sorted(root.rglob("*.txt"))]
    assert texts == ["kai, anime boy, portrait\n", "kai, anime boy, profile view\n"]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "is no model folder"),
        ({"config.json": '{"model_type": "git"}'}, "holds a git model"),
        ({"config.json": '{"model_type": "blip"}'}, "has no .safetensors weights"),
        ({"config.json": "[]", "model.safetensors": ""}, "holds a None model"),
    ],
)
def test_a_folder_that_holds_no_such_model_is_told(
    root: Path, tmp_path: Path, files: dict[str, str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    for name, text in files.items():
        (tmp_path / "model" / name).write_text(text)
    assert caption(root, "--tagger", tmp_path / "model") == 1
    assert told in capsys.readouterr().err


def test_a_mistyped_tagger_is_answered_with_the_nearest(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert caption(root, "--tagger", "florence") == 1
    assert "Did you mean florence2?" in capsys.readouterr().err


def test_without_a_hub_one_plain_sentence_comes_at_once(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://127.0.0.1:9")  # nobody listens there
    before = time.process_time()
    assert caption(root, "--tagger", "blip") == 1
    assert time.process_time() - before < 20
    told = capsys.readouterr().err
    assert "the hub does not answer" in told
    assert "--tagger FOLDER" in told
    assert "Traceback" not in told


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    place = tmp_path_factory.mktemp("describers")
    for kind in ("blip", "florence2", "llava"):
        write_describer(place / kind, kind)
    return place


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "kind",
    ["blip", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("florence2", "llava"))],
)
def test_a_model_of_the_real_kind_describes_and_the_pattern_places_it(
    root: Path, models: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern = "{trigger}, {view}, {sentence}"
    words = ("--tagger", models / kind, "--from-tags", pattern)
    assert caption(root, *words, "--write") == 0
    texts = [path.read_text().strip() for path in sorted(root.rglob("*.txt"))]
    assert texts[0].startswith("kai, portrait")
    assert texts[1].startswith("kai, profile view")
    told = capsys.readouterr().err
    assert f"describing with {models / kind} (model.safetensors sha256 " in told
    history = (root / ".lorakit/captions.jsonl").read_text()
    assert "sentences by" in json.loads(history.splitlines()[-1])["what"]
    assert caption(root, "--undo") == 0
    assert not list(root.rglob("*.txt"))
    weights = models / kind / "model.safetensors"
    hidden = weights.with_suffix(".hidden")
    kept = weights.read_bytes()
    os.rename(weights, hidden)
    try:
        weights.write_bytes(kept)
        (models / kind / "processor_config.json").rename(models / kind / "away")
        assert caption(root, *words) == 0  # remembered: the model is not even opened
    finally:
        os.replace(hidden, weights)
        (models / kind / "away").rename(models / kind / "processor_config.json")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("template", "asked"),
    [
        (None, "USER: <image>\nWrite a descriptive"),
        (
            "{% for m in messages %}[{{ m.role }}]<image>{{ m.content | trim }}{% endfor %}",
            "[user]<image>Write a descriptive",
        ),
        (
            "{% for m in messages %}{% for c in m.content | selectattr('type', 'equalto', 'image')"
            " %}<image> {% endfor %}{% for c in m.content | selectattr('type', 'equalto', 'text')"
            " %}{{ c.text }}{% endfor %}{% endfor %}",
            "<image> Write a descriptive",
        ),
    ],
)
def test_a_llava_is_asked_as_its_template_has_it(
    models: Path, template: str | None, asked: str
) -> None:
    from transformers import AutoProcessor

    from lorakit.embedded.describing import question

    processor = AutoProcessor.from_pretrained(models / "llava", local_files_only=True)
    processor.chat_template = template
    assert question(processor).startswith(asked)


@pytest.mark.slow
def test_a_model_that_cannot_be_opened_is_told_in_a_line(
    root: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in (models / "blip").iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "model.safetensors").write_bytes(b"not weights")
    assert caption(root, "--tagger", broken) == 1
    told = capsys.readouterr().err
    assert "could not be described" in told
    assert "Traceback" not in told
