"""`sheet --with comfyui|a1111`: drawn by doubles of both that refuse, fail, answer by halves and fall silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from user_interfaces import A1111Double, ComfyDouble, serving

from lorakit.cli.main import main
from lorakit.sheet import interfaces
from lorakit.weights.finite import inspect
from lorakit.weights.safetensors import read_header, write

SHEET = ["--checkpoints", "last:2", "--strengths", "0.5,1", "--seeds", "1"]


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "maya" / "20260101-120000"
    (folder / "output").mkdir(parents=True)
    (folder / "train.toml").write_text(
        'pretrained_model_name_or_path = "/m/base.safetensors"\nclip_l = "/m/l.safetensors"\nt5xxl = "/m/t.safetensors"\n'
        'ae = "/m/ae.safetensors"\noutput_name = "maya"\nresolution = "96,64"\n'
    )
    (folder / "prompts.toml").write_text(
        '[prompt]\n[[prompt.subset]]\nprompt = "maya, {red|blue} hat"\nnegative_prompt = "blurry"\nsample_steps = 20\nscale = 5.0\nseed = 7\n'
    )
    family(folder, "sd15")
    for byte, name in enumerate(("maya-000002", "maya-000004", "maya", "../../../ink")):
        tensors = {"lora_unet_a.lora_up.weight": ("F32", (1,))}
        path = folder / "output" / f"{name}.safetensors"
        write(path, tensors, {"ss_steps": Path(name).name}, [bytes([byte + 1] * 4)])
    return folder


def family(run_dir: Path, name: str) -> None:
    (run_dir / "record.json").write_text(json.dumps({"schema": 1, "family": name}))


def comfy(run_dir: Path, **how: Any) -> ComfyDouble:
    files = [
        *(run_dir / "output").glob("*.safetensors"),
        *run_dir.parent.parent.glob("*.safetensors"),
    ]
    return ComfyDouble(
        {f"chars/{one.name}": dict(read_header(one).metadata) for one in files}, **how
    )


def a1111(run_dir: Path, **how: Any) -> A1111Double:
    files = [
        *(run_dir / "output").glob("*.safetensors"),
        *run_dir.parent.parent.glob("*.safetensors"),
    ]
    return A1111Double({one.stem: inspect(one).tensors_sha256 or "" for one in files}, **how)


def sheet(program: Any, *words: str) -> int:
    name = "comfyui" if isinstance(program, ComfyDouble) else "a1111"
    with serving(program) as url:
        return main(["sheet", "maya", *SHEET, "--with", name, "--at", url, *words])


@pytest.mark.parametrize("newer", [False, True])
def test_comfyui_draws_every_cell_with_the_workflow_of_the_family(
    run_dir: Path, newer: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    program = comfy(run_dir, newer=newer)
    assert sheet(program, "--json") == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert len({Path(one["pictures"][0]).read_bytes() for one in cells}) == 5  # the base, too
    worn = [
        (graph["2"]["inputs"]["lora_name"], graph["2"]["inputs"]["strength_model"])
        for graph in program.graphs
    ]
    assert worn == [
        ("chars/maya-000004.safetensors", 0.0),
        *(
            (f"chars/{name}.safetensors", by)
            for name in ("maya-000004", "maya")
            for by in (0.5, 1.0)
        ),
    ]
    last = program.graphs[-1]
    assert last["1"]["inputs"]["ckpt_name"] == "sub/base.safetensors"
    assert last["4"]["inputs"]["text"] == "maya, {red|blue} hat"
    assert last["7"]["inputs"] | {"seed": 7, "steps": 20, "cfg": 5.0} == last["7"]["inputs"]


@pytest.mark.parametrize("kind", ["sdxl", "flux"])
def test_workflows_of_the_other_families_are_accepted_too(run_dir: Path, kind: str) -> None:
    family(run_dir, kind)
    program = comfy(run_dir, bases=[f"{one}.safetensors" for one in ("base", "l", "t", "ae")])
    assert sheet(program) == 0
    assert len(program.graphs) == 5


def test_what_is_drawn_is_not_drawn_again_unless_the_program_draws_otherwise(run_dir: Path) -> None:
    program = comfy(run_dir)
    with serving(program) as url:
        words = ["sheet", "maya", *SHEET, "--with", "comfyui", "--at", url]
        assert main(words) == main(words) == 0
        assert len(program.graphs) == 5
        (run_dir / "train.toml").write_text(
            (run_dir / "train.toml").read_text() + 'sample_sampler = "euler"\n'
        )
        assert main(words) == 0
        assert len(program.graphs) == 10


def saved(numbers: bool = True) -> dict[str, Any]:
    """A workflow as ComfyUI saves it: a reroute, a bypassed LoRA, a note, a seed that changes by itself."""

    def node(
        number: int,
        kind: str,
        inputs: dict[str, tuple[int, str]],
        values: list[Any],
        *outputs: str,
        **more: Any,
    ) -> dict[str, Any]:
        return {
            "id": number,
            "type": kind,
            "inputs": [
                {"name": name, "type": told, "link": link} for name, (link, told) in inputs.items()
            ],
            "outputs": [{"name": one, "type": one} for one in outputs],
            "widgets_values": values,
            "mode": 0,
            **more,
        }

    links = [
        [1, 1, 0, 2, 0, "MODEL"],
        [2, 1, 1, 2, 1, "CLIP"],
        [3, 2, 0, 3, 0, "MODEL"],
        [4, 2, 1, 3, 1, "CLIP"],
        [5, 3, 1, 4, 0, "CLIP"],
        [6, 3, 1, 5, 0, "CLIP"],
        [7, 3, 0, 10, 0, "*"],
        [8, 10, 0, 7, 0, "MODEL"],
        [9, 4, 0, 7, 1, "CONDITIONING"],
        [10, 5, 0, 7, 2, "CONDITIONING"],
        [11, 6, 0, 7, 3, "LATENT"],
        [12, 7, 0, 8, 0, "LATENT"],
        [13, 1, 2, 8, 1, "VAE"],
        [14, 8, 0, 9, 0, "IMAGE"],
        [15, 11, 0, 7, 4, "INT"],
    ]
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    sampler = {
        "model": (8, "MODEL"),
        "positive": (9, "CONDITIONING"),
        "negative": (10, "CONDITIONING"),
    }
    sampler |= {"latent_image": (11, "LATENT"), "seed": (15, "INT")}
    return {
        "version": 0.4,
        "links": links if numbers else [dict(zip(names, link, strict=True)) for link in links],
        "nodes": [
            node(1, "CheckpointLoaderSimple", {}, ["other.safetensors"], "MODEL", "CLIP", "VAE"),
            node(
                2,
                "LoraLoader",
                {"model": (1, "MODEL"), "clip": (2, "CLIP")},
                ["gone.safetensors", 1, 1],
                "MODEL",
                "CLIP",
                mode=4,
            ),
            node(
                3,
                "LoraLoader",
                {"model": (3, "MODEL"), "clip": (4, "CLIP")},
                ["chars/ink.safetensors", 1, 1],
                "MODEL",
                "CLIP",
            ),
            node(4, "CLIPTextEncode", {"clip": (5, "CLIP")}, ["{prompt}, photo"], "CONDITIONING"),
            node(5, "CLIPTextEncode", {"clip": (6, "CLIP")}, ["ugly"], "CONDITIONING"),
            node(6, "EmptyLatentImage", {}, [128, 96, 1], "LATENT"),
            node(
                7,
                "KSampler",
                sampler,
                [99, "randomize", 12, 3.5, "dpmpp_2m", "karras", 1.0],
                "LATENT",
            ),
            node(8, "VAEDecode", {"samples": (12, "LATENT"), "vae": (13, "VAE")}, [], "IMAGE"),
            node(9, "SaveImage", {"images": (14, "IMAGE")}, ["mine"]),
            node(10, "Reroute", {"": (7, "*")}, [], "MODEL"),
            node(11, "PrimitiveNode", {}, [99, "randomize"], "INT"),
            node(12, "Note", {}, ["do not forget"]),
        ],
    }


@pytest.mark.parametrize("numbers", [True, False])
def test_your_own_saved_workflow_keeps_everything_but_prompt_seed_and_lora(
    run_dir: Path, numbers: bool
) -> None:
    Path("mine.json").write_text(json.dumps(saved(numbers)))
    program = comfy(run_dir)
    assert sheet(program, "--workflow", "mine.json", "--no-base") == 0
    last = program.graphs[-1]
    assert sorted(last, key=int) == ["1", "3", "4", "5", "6", "7", "8", "9"]
    assert last["1"]["inputs"]["ckpt_name"] == "other.safetensors"
    assert last["3"]["inputs"] == {
        "model": ["1", 0],
        "clip": ["1", 1],
        "lora_name": "chars/maya.safetensors",
        "strength_model": 1.0,
        "strength_clip": 1.0,
    }
    assert (last["4"]["inputs"]["text"], last["5"]["inputs"]["text"]) == (
        "maya, {red|blue} hat, photo",
        "ugly",
    )
    sampler = last["7"]["inputs"]
    assert [sampler[key] for key in ("seed", "steps", "cfg", "scheduler")] == [7, 12, 3.5, "karras"]
    assert last["9"] == {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}


def test_an_exported_workflow_is_taken_with_the_loader_that_has_ours(run_dir: Path) -> None:
    graph = json.loads((interfaces.WORKFLOWS / "sd15.json").read_text())
    graph["1"]["inputs"]["ckpt_name"] = "other.safetensors"
    graph["2"]["inputs"]["lora_name"] = "chars/ink.safetensors"
    graph["4"]["inputs"]["text"], graph["5"]["inputs"]["text"] = "{prompt}", "{negative}, ugly"
    graph["3"]["inputs"]["stop_at_clip_layer"] = -2
    graph["6"]["inputs"] |= {"width": 64, "height": 64}
    graph["7"]["inputs"] |= {
        "seed": 3,
        "steps": 9,
        "cfg": 2.0,
        "sampler_name": "euler",
        "scheduler": "normal",
    }
    ours = {"lora_name": "maya.safetensors", "model": ["2", 0], "clip": ["2", 1]}
    graph["10"] = {"class_type": "LoraLoader", "inputs": graph["2"]["inputs"] | ours}
    graph["7"]["inputs"]["model"] = ["10", 0]
    Path("mine.json").write_text(json.dumps(graph))
    program = comfy(run_dir)
    assert sheet(program, "--workflow", "mine.json") == 0
    last = program.graphs[-1]
    assert last["2"]["inputs"]["lora_name"] == "chars/ink.safetensors"
    assert last["10"]["inputs"]["lora_name"] == "chars/maya.safetensors"
    assert last["5"]["inputs"]["text"] == "blurry, ugly"


def test_several_loras_lie_one_behind_the_other_the_style_first(run_dir: Path) -> None:
    program = comfy(run_dir)
    assert sheet(program, "--also", "runs/ink.safetensors:0.7") == 0
    first, alone, last = program.graphs[0], program.graphs[1], program.graphs[-1]
    assert first["2"]["inputs"]["strength_model"] == 0.0
    assert alone["2"]["inputs"]["strength_model"] == 0.7
    assert "2-1" not in alone
    assert (last["2"]["inputs"]["lora_name"], last["2"]["inputs"]["strength_clip"]) == (
        "chars/ink.safetensors",
        0.7,
    )
    assert last["2-1"]["inputs"]["model"] == ["2", 0]
    assert last["2-1"]["inputs"]["lora_name"] == "chars/maya.safetensors"
    assert last["7"]["inputs"]["model"] == ["2-1", 0]
    assert last["3"]["inputs"]["clip"] == ["2-1", 1]
    other = a1111(run_dir)
    assert sheet(other, "--also", "runs/ink.safetensors:0.7") == 0
    assert other.orders[-1]["prompt"] == "maya, {red|blue} hat <lora:ink:0.7> <lora:maya:1>"


def test_a1111_draws_every_cell_and_says_what_it_loaded(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = a1111(run_dir)
    assert sheet(program, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["cells"]) == 5
    order = program.orders[-1]
    assert order["prompt"] == "maya, {red|blue} hat <lora:maya:1>"
    assert order["negative_prompt"] == "blurry"
    assert (order["width"], order["height"], order["seed"], order["cfg_scale"]) == (96, 64, 7, 5.0)
    assert not order["save_images"]
    assert program.orders[0]["prompt"] == "maya, {red|blue} hat"  # the base
    family(run_dir, "flux")
    assert sheet(program) == 0
    assert (program.orders[-1]["cfg_scale"], program.orders[-1]["distilled_cfg_scale"]) == (
        1.0,
        3.5,
    )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"fails": "CUDA out of memory", "after": 2}, "could not draw: CUDA out of memory"),
        ({"half": True, "after": 2}, "answers with half a picture, or none"),
        ({"looks": 10**6}, "drew nothing within 0 s"),
        (
            {"bases": ["sub/bose.safetensors"]},
            "has no base.safetensors. Did you mean sub/bose.safetensors?",
        ),
        ({"lacks": "CLIPSetLastLayer"}, "has no node CLIPSetLastLayer"),
    ],
)
def test_what_goes_wrong_in_comfyui_is_said_and_what_was_drawn_is_kept(
    run_dir: Path,
    how: dict[str, Any],
    said: str,
    monkeypatch: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(interfaces, "PATIENCE_S", 0.3 if "looks" in how else 30.0)
    program = comfy(run_dir, **how)
    assert sheet(program) == 1
    err = capsys.readouterr().err
    assert said in err
    drawing = bool(program.graphs)  # before that there is nothing to keep
    assert (f"{how.get('after', 0)} of 5 pictures are kept; the same command" in err) == drawing
    kept = list((run_dir / "sheet").glob("*")) if (run_dir / "sheet").is_dir() else []
    assert len(kept) == how.get("after", 0)
    assert not (run_dir / "sheet.png").exists()
    if "looks" in how:
        assert program.deleted == ["0"]  # nothing of ours stays in the queue


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"fails": "CUDA out of memory"}, "answers 500: CUDA out of memory"),
        ({"half": True}, "answers with half a picture, or none"),
        ({"loads": False}, "drew, but not with this maya-000004"),
        (
            {"titles": ("bose.safetensors [0]",)},
            "has no base.safetensors. Did you mean bose.safetensors?",
        ),
    ],
)
def test_what_goes_wrong_in_a1111_is_said(
    run_dir: Path, how: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sheet(a1111(run_dir, **how)) == 1
    assert said in capsys.readouterr().err


def test_a_lora_that_is_not_there_or_is_another_is_told_before_anything_is_drawn(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = comfy(run_dir)
    program.loras["chars/maya.safetensors"] = {"ss_steps": "of another run"}
    assert sheet(program) == 1
    assert "has another LoRA as chars/maya.safetensors" in capsys.readouterr().err
    del program.loras["chars/maya.safetensors"]
    assert sheet(program) == 1
    assert "has no maya.safetensors. Did you mean" in capsys.readouterr().err
    program.loras.clear()
    assert sheet(program) == 1
    err = capsys.readouterr().err
    assert "has no maya-000004.safetensors.\nIt lists none." in err
    assert "lorakit deploy RUN --checkpoint NAME puts a LoRA there." in err
    assert program.graphs == []
    other = a1111(run_dir)
    other.loras["maya"] = "f" * 64
    assert sheet(other) == 1
    assert "drew, but not with this maya. It names" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no workflow that can be read: is not JSON"),
        ('{"a": 1}', "is no workflow that can be read"),
        ('{"nodes": [{"id": 1}], "links": []}', "is no workflow that can be read"),
        (
            '{"1": {"class_type": "SaveImage", "inputs": {"text": "{prompt}", "images": 1}}}',
            "loads a LoRA",
        ),
        ('{"1": {"class_type": "LoraLoader", "inputs": {"lora_name": "x"}}}', "has no {prompt}"),
        ("{two}", "The workflow loads 2 LoRAs: a, b"),
    ],
)
def test_a_workflow_that_cannot_be_used_is_told(
    run_dir: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loaders = {
        name: {"class_type": "LoraLoader", "inputs": {"lora_name": name, "t": "{prompt}"}}
        for name in "ab"
    }
    Path("mine.json").write_text(json.dumps(loaders) if text == "{two}" else text)
    assert sheet(comfy(run_dir), "--workflow", "mine.json") == 1
    assert said in capsys.readouterr().err


def test_nobody_there_silence_and_no_address_are_clear_errors(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    words = ["sheet", "maya", *SHEET, "--with"]
    assert main([*words, "a1111", "--at", "http://127.0.0.1:9"]) == 1
    assert "gives no answer" in capsys.readouterr().err
    assert main([*words, "comfyui", "--at", "file:///etc/passwd"]) == 1
    assert "an address such as http://127.0.0.1:8188" in capsys.readouterr().err
    assert main([*words[:-1], "--at", "http://127.0.0.1:9"]) == 1
    assert "need --with comfyui or --with a1111" in capsys.readouterr().err
    family(run_dir, "wan22")
    assert sheet(comfy(run_dir)) == 1
    assert "no workflow of its own for wan22" in capsys.readouterr().err


def test_a_program_that_never_answers_is_given_up(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    import socket

    monkeypatch.setattr(interfaces, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        assert main(["sheet", "maya", *SHEET, "--with", "comfyui", "--at", url]) == 1
    assert "gives no answer: timed out" in capsys.readouterr().err
