"""Tokenisers for the scripts without the network: made from our own table, accepted by the real library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorakit.families import FAMILIES
from lorakit.proc import ask
from lorakit.trainers import tokenizers
from lorakit.trainers.kohya.locate import require

CLIP_L, CLIP_G = tokenizers.PADS


@pytest.mark.slow
def test_the_folder_has_what_the_scripts_look_for(own_home: Path) -> None:
    place = tokenizers.ensure([CLIP_L, CLIP_G])
    assert place == tokenizers.folder()
    assert place.is_relative_to(own_home)
    for name, pad in (
        ("openai_clip-vit-large-patch14", "<|endoftext|>"),
        ("laion_CLIP-ViT-bigG-14-laion2B-39B-b160k", "!"),
    ):
        assert len(json.loads((place / name / "vocab.json").read_text(encoding="utf-8"))) == 49408
        assert len((place / name / "merges.txt").read_text(encoding="utf-8").splitlines()) == 48895
        assert (
            json.loads((place / name / "tokenizer_config.json").read_text(encoding="utf-8"))[
                "pad_token"
            ]
            == pad
        )


def test_what_is_there_is_left_alone() -> None:
    place = tokenizers.ensure([CLIP_L]) / CLIP_L.replace("/", "_")
    before = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    tokenizers.ensure([CLIP_L])
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == before


def test_t5_comes_from_the_checkout_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr("lorakit.catalogue.checkout.VENDOR", tmp_path)
    assert not tokenizers.provides(tokenizers.T5)
    for name in (
        "sd-scripts/train_network.py",
        "sd-scripts/configs/t5_old/spiece.model",
        ".venv/bin/python",
        ".venv/.ready",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert all(map(tokenizers.provides, FAMILIES["flux"].tokenizers))
    assert (
        tokenizers.ensure(FAMILIES["flux"].tokenizers) / "google_t5-v1_1-xxl" / "spiece.model"
    ).is_file()
    assert not tokenizers.provides("google/gemma-2-2b")


@pytest.mark.real
def test_the_scripts_own_library_reads_them(sd_scripts: Path) -> None:
    code = (
        "import sys, json; from transformers import CLIPTokenizer; t = CLIPTokenizer.from_pretrained(sys.argv[1]);"
        "print(json.dumps(t('a photo of a maya_char, sunlit')['input_ids']))"
    )
    place = tokenizers.ensure(FAMILIES["flux"].tokenizers)
    answer = ask(
        [str(require().python), "-c", code, str(place / "openai_clip-vit-large-patch14")],
        timeout_s=120,
    )
    assert json.loads(answer.out.splitlines()[-1])[:5] == [49406, 320, 1125, 539, 320], answer.err
    assert (place / "google_t5-v1_1-xxl" / "spiece.model").is_file()
