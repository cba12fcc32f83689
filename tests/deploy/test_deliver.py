from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lorakit.deploy.deliver import Parcel, deliver, usage
from lorakit.deploy.workflow import Swap, swap_workflow
from lorakit.errors import RecipeError


@pytest.fixture
def parcel(tmp_path: Path) -> Parcel:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "maya.safetensors").write_bytes(b"lora")
    (tmp_path / "run" / "s.png").write_bytes(b"png")
    return Parcel(
        tmp_path / "run" / "maya.safetensors",
        "maya",
        "maya_char",
        "sdxl",
        preview=tmp_path / "run" / "s.png",
    )


@pytest.fixture
def webui(tmp_path: Path) -> Path:
    (tmp_path / "webui" / "models" / "Lora").mkdir(parents=True)
    return tmp_path / "webui"


def test_a1111_gets_lora_sidecar_and_preview_and_a_second_time_nothing(
    parcel: Parcel, webui: Path
) -> None:
    done = deliver(parcel, "a1111", webui)
    folder = webui / "models" / "Lora"
    assert sorted(path.name for path in folder.iterdir()) == [
        "maya.json",
        "maya.png",
        "maya.safetensors",
    ]
    sidecar = json.loads((folder / "maya.json").read_text())
    assert (sidecar["sd version"], sidecar["activation text"], sidecar["preferred weight"]) == (
        "SDXL",
        "maya_char",
        0.8,
    )
    assert usage(parcel, "a1111", done.path) == "<lora:maya:0.8>, maya_char, ..."
    assert deliver(parcel, "a1111", webui).written == ()


def test_what_you_wrote_in_a_sidecar_stays(parcel: Parcel, webui: Path) -> None:
    path = webui / "models" / "Lora" / "maya.json"
    path.write_text(json.dumps({"activation text": "my own words", "notes": "", "colour": "red"}))
    deliver(replace(parcel, notes="run 7"), "a1111", webui)
    assert {
        "activation text": "my own words",
        "notes": "run 7",
        "colour": "red",
    }.items() <= json.loads(path.read_text()).items()


def test_another_lora_of_that_name_is_left_as_it_is(parcel: Parcel, webui: Path) -> None:
    target = webui / "models" / "Lora" / "maya.safetensors"
    target.write_bytes(b"other")
    with pytest.raises(RecipeError, match="another LoRA"):
        deliver(parcel, "a1111", webui)
    assert target.read_bytes() == b"other"
    assert list(target.parent.glob(".*")) == []


def test_the_folder_of_loras_itself_may_be_given_and_a_wrong_one_is_refused(
    parcel: Parcel, webui: Path, tmp_path: Path
) -> None:
    assert (
        deliver(parcel, "a1111", webui / "models" / "Lora").path.parent == webui / "models" / "Lora"
    )
    with pytest.raises(RecipeError, match="does not look like comfyui"):
        deliver(parcel, "comfyui", tmp_path / "run")


def test_a_link_takes_no_room(parcel: Parcel, tmp_path: Path) -> None:
    (tmp_path / "comfy" / "models" / "loras").mkdir(parents=True)
    assert deliver(parcel, "comfyui", tmp_path / "comfy", link=True).path.is_symlink()


def test_diffusers_gets_lines_that_compile(parcel: Parcel, tmp_path: Path) -> None:
    compile(usage(parcel, "diffusers", tmp_path / "maya.safetensors"), "usage", "exec")


@pytest.mark.parametrize(
    ("family", "pipeline", "node"),
    [
        ("sd15", "StableDiffusionPipeline", "LoraLoader:"),
        ("flux", "FluxPipeline", "LoraLoaderModelOnly ("),
        ("lumina", "DiffusionPipeline", "LoraLoader:"),
        ("", "DiffusionPipeline", "LoraLoader:"),
    ],
)
def test_every_family_is_loaded_by_its_own_pipeline_and_node(
    parcel: Parcel, tmp_path: Path, family: str, pipeline: str, node: str
) -> None:
    own = replace(parcel, family=family)
    assert f" import {pipeline}\n" in usage(own, "diffusers", tmp_path / "a.safetensors")
    assert usage(own, "comfyui", tmp_path / "a.safetensors").startswith(node)


def test_a_workflow_gets_our_lora_and_trigger_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_text(
        json.dumps(
            {
                "10": {
                    "class_type": "LoraLoader",
                    "inputs": {
                        "lora_name": "old.safetensors",
                        "strength_model": 1,
                        "strength_clip": 1,
                        "model": ["4", 0],
                    },
                },
                "6": {
                    "class_type": "CLIPTextEncode",
                    "inputs": {"text": "sage_character, dancing", "clip": ["10", 1]},
                },
            }
        )
    )
    text, changes = swap_workflow(
        path, Swap("maya.safetensors", "maya_char", old_trigger="sage_character", strength=0.7)
    )
    nodes = json.loads(text)
    assert nodes["10"]["inputs"] == {
        "lora_name": "maya.safetensors",
        "strength_model": 0.7,
        "strength_clip": 0.7,
        "model": ["4", 0],
    }
    assert nodes["6"]["inputs"]["text"] == "maya_char, dancing"
    assert len(changes) == 2


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[]", "API format"),
        ("{", "no workflow that can be read: is not JSON"),
        ('{"1": {"class_type": "KSampler", "inputs": {}}}', "no node"),
    ],
)
def test_what_is_not_a_workflow_is_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(RecipeError, match=word):
        swap_workflow(tmp_path / "w.json", Swap("a", "b"))


def workflow(path: Path, *loras: str, text: str = "sage, dancing") -> Path:
    nodes = {
        str(number): {"class_type": "LoraLoader", "inputs": {"lora_name": lora, "model": ["4", 0]}}
        for number, lora in enumerate(loras)
    }
    path.write_text(
        json.dumps(
            {
                **nodes,
                "t": {"class_type": "CLIPTextEncode", "inputs": {"text": text}},
                "n": {"class_type": "Note", "inputs": []},
            }
        )
    )
    return path


def test_a_style_lora_in_the_workflow_stays_and_the_one_to_replace_must_be_named(
    tmp_path: Path,
) -> None:
    path = workflow(tmp_path / "w.json", "style.safetensors", "sage.safetensors")
    with pytest.raises(RecipeError, match="loads 2 LoRAs"):
        swap_workflow(path, Swap("maya.safetensors", "maya_char"))
    with pytest.raises(RecipeError, match=r"Did you mean sage\.safetensors"):
        swap_workflow(path, Swap("maya.safetensors", "maya_char", old_lora="saga.safetensors"))
    nodes = json.loads(
        swap_workflow(path, Swap("maya.safetensors", "maya_char", old_lora="sage.safetensors"))[0]
    )
    assert [nodes[key]["inputs"]["lora_name"] for key in "01"] == [
        "style.safetensors",
        "maya.safetensors",
    ]


def test_a_trigger_is_replaced_as_a_word_and_never_inside_a_file_name(tmp_path: Path) -> None:
    path = workflow(
        tmp_path / "w.json", "maya-v1.safetensors", text="maya, a sage of mayanese art, maya_old"
    )
    nodes = json.loads(
        swap_workflow(path, Swap("maya-v2.safetensors", "maya_char", old_trigger="maya"))[0]
    )
    assert nodes["0"]["inputs"]["lora_name"] == "maya-v2.safetensors"
    assert nodes["t"]["inputs"]["text"] == "maya_char, a sage of mayanese art, maya_old"


def test_a_lora_that_came_since_we_looked_is_left_as_it_is(
    parcel: Parcel, webui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, copy = webui / "models" / "Lora" / "maya.safetensors", shutil.copyfile

    def slowly(source: Path, to: Path) -> None:
        copy(source, to)
        target.write_bytes(b"other")

    monkeypatch.setattr(shutil, "copyfile", slowly)
    with pytest.raises(RecipeError, match="another LoRA"):
        deliver(parcel, "a1111", webui)
    assert target.read_bytes() == b"other"
    assert list(target.parent.iterdir()) == [target]
