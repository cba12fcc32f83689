"""What each program reads is known without asking it: other forms are converted, what it would pass over is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lora_cases import kohya_flux, kohya_unet, random, save
from user_interfaces import ComfyDouble

from lorakit.cli.main import main
from lorakit.deploy.deliver import FOLDERS
from lorakit.deploy.loaders import LOADERS, converted, told_of_keys
from lorakit.deploy.workflow import new_workflow
from lorakit.families import FAMILIES
from lorakit.plan.model import Plan
from lorakit.run.train import train
from lorakit.sheet.source import read_source
from lorakit.weights.keys import FORMS, read_lora
from lorakit.weights.rewrite import convert, delta_error


def in_form(source: Path, form: str) -> Path:
    if form == "kohya":
        return source
    return convert(read_lora(source), source.with_name(f"{form}.safetensors"), form).path


def test_every_program_that_is_delivered_to_has_its_rules_and_they_name_known_words() -> None:
    assert LOADERS.keys() == FOLDERS.keys()
    for loader in LOADERS.values():
        families = loader.keys() - {"title", "kinds", "other"}
        assert families <= {*FAMILIES, "sd2"}
        assert {form for one in families for form in loader[one]} <= {*FORMS}


@pytest.mark.parametrize("program", LOADERS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_what_arrives_is_in_a_form_that_the_program_reads_and_the_same_lora(
    tmp_path: Path, program: str, form: str, family: str
) -> None:
    source = tmp_path / "k.safetensors"
    source = kohya_flux(source) if family == "flux" else kohya_unet(source, family)
    given = in_form(source, form)
    (tmp_path / "to").mkdir()
    file, said = converted(program, given, tmp_path / "to")
    reads = LOADERS[program].get(family, LOADERS[program].get("other", ()))
    if not reads:
        assert (file, said) == (given, "")
        told = told_of_keys(program, file, tmp_path)
        assert told == "A1111 is not known to read LoRAs of flux."
        return
    assert (file == given) == (form in reads) == (said == "")
    assert read_lora(file).form in reads
    assert delta_error(read_lora(given), read_lora(file)) < 1e-6
    assert "reads all" in told_of_keys(program, file, tmp_path)


def test_a_kind_that_is_not_read_and_a_layer_that_the_base_lacks_are_named(tmp_path: Path) -> None:
    head = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    hada = {f"{head}.hada_w{n}_{side}": random(4, 4) for n in (1, 2) for side in "ab"}
    loha = save(tmp_path / "h.safetensors", hada, {"ss_base_model_version": "sdxl_base_v1-0"})
    told = told_of_keys("diffusers", loha, tmp_path)
    assert told.startswith("diffusers will pass over 1 (lora key not loaded): input_blocks")
    assert "reads all of it: 1 module, in" in told_of_keys("comfyui", loha, tmp_path)
    base = {"model.diffusion_model.input_blocks.4.1.proj_in.weight": np.zeros((1, 1), np.float32)}
    other = save(tmp_path / "base.safetensors", base)
    told = told_of_keys("comfyui", kohya_unet(tmp_path / "k.safetensors", "sdxl"), other)
    assert "pass over 2 (lora key not loaded)" in told
    assert "input_blocks.4.1.transformer_blocks.0.attn2.to_k" in told


@pytest.fixture
def run_dir(make_plan: Callable[..., Plan], project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its LoRA is one of SDXL in diffusers' form."""
    monkeypatch.chdir(project)
    plan = make_plan()
    train(plan)
    lora = plan.run_dir / "output" / "fox.safetensors"
    given = in_form(kohya_unet(project / "k.safetensors", "sdxl"), "diffusers")
    os.replace(given, lora)
    record = json.loads((plan.run_dir / "record.json").read_text())
    for one in record["checkpoints"]:
        one.pop("sha256", None)
    (plan.run_dir / "record.json").write_text(json.dumps(record))
    return plan.run_dir


@pytest.mark.parametrize("program", [one for one, folder in FOLDERS.items() if folder])
def test_deploy_converts_once_says_so_and_takes_it_back(
    run_dir: Path, project: Path, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "ui" / FOLDERS[program]
    folder.mkdir(parents=True)
    words = ["deploy", "latest", "--to", program, "--dir", "ui"]
    assert main([*words, "--link"]) == 1
    assert "Without --link it is converted" in capsys.readouterr().err
    assert list(folder.iterdir()) == []
    assert main(words) == 0
    told = capsys.readouterr()
    assert "converted to kohya's form, delta-W equal to" in told.err
    assert "reads all of it: 3 modules, in kohya's form" in told.err
    assert read_lora(folder / "fox.safetensors").form == "kohya"
    assert (folder / "fox.json").is_file() == (program != "comfyui")
    assert main(words) == 0
    assert "was there already" in capsys.readouterr().err
    assert main(["undeploy", "latest"]) == 0
    assert list(folder.iterdir()) == []


WEIGHTS = {
    "sd15": 'pretrained_model_name_or_path = "/m/base.safetensors"\n',
    "sdxl": 'pretrained_model_name_or_path = "/m/base.safetensors"\n',
    "flux": 'pretrained_model_name_or_path = "/m/flux.safetensors"\nt5xxl = "/m/t5.safetensors"\n',
}


@pytest.mark.parametrize("family", WEIGHTS)
def test_a_workflow_from_nothing_is_taken_by_comfyui_style_first_and_character_last(
    tmp_path: Path, family: str
) -> None:
    text = f'{WEIGHTS[family]}output_name = "maya"\nresolution = "512"\nseed = 7\n'
    (tmp_path / "train.toml").write_text(text)
    (tmp_path / "record.json").write_text(json.dumps({"schema": 1, "family": family}))
    worn = [("ink.safetensors", 0.6), ("maya.safetensors", 0.8)]
    graph: dict[str, Any] = json.loads(
        new_workflow(read_source(tmp_path), worn, "maya_char, dancing")
    )
    bases = [*("base", "flux", "t5", "clip_l", "ae")]
    double = ComfyDouble(
        {"ink.safetensors": {}, "maya.safetensors": {}},
        bases=[f"{name}.safetensors" for name in bases],
    )
    assert double.wrong(graph) == ""
    loads = {at: one["inputs"] for at, one in graph.items() if "lora_name" in one["inputs"]}
    (first, style), (last, character) = loads.items()
    assert (style["lora_name"], style["strength_model"]) == ("ink.safetensors", 0.6)
    assert (character["lora_name"], character["strength_clip"]) == ("maya.safetensors", 0.8)
    assert character["model"] == [first, 0]
    assert [one["inputs"]["model"] for one in graph.values() if "steps" in one["inputs"]] == [
        [last, 0]
    ]
    assert any("maya_char, dancing" in one["inputs"].values() for one in graph.values())
    saves = [one["inputs"] for one in graph.values() if one["class_type"] == "SaveImage"]
    assert [one["filename_prefix"] for one in saves] == ["maya"]


def test_deploy_writes_the_new_workflow_beside_the_run_and_names_what_the_run_asked(
    run_dir: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "ui/models/loras").mkdir(parents=True)
    (run_dir / "train.toml").write_text(WEIGHTS["sd15"] + 'output_name = "fox"\n')
    (run_dir / "prompts.toml").write_text(
        '[[prompt.subset]]\nprompt = "fox, portrait"\n[[prompt.subset]]\nprompt = "a cat"\n'
    )
    words = ["deploy", "latest", "--to", "comfyui", "--dir", "ui", "--workflow", "new"]
    assert main([*words, "--also", "ink.safetensors:0.5"]) == 0
    told = capsys.readouterr().err
    assert "asked of it in training: fox, portrait" in told and "a cat" not in told
    graph = json.loads((run_dir / "workflow-fox.json").read_text())
    names = [one["inputs"].get("lora_name") for one in graph.values()]
    assert [one for one in names if one] == ["ink.safetensors", "fox.safetensors"]
    assert main(words) == 1
    assert "exists and is another workflow" in capsys.readouterr().err
