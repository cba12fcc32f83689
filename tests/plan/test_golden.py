"""One whole plan per family and trainer, word for word. `make golden` rewrites them; the diff is judged by a person."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan_cases import CUDA, flux, folder, sd, weights

import lorakit
from lorakit.cli.terminal.plan_page import show_plan
from lorakit.plan.document import command_text
from lorakit.plan.make import make_plans
from lorakit.recipe.resolve import resolve

GOLDEN = Path(__file__).with_name("golden")
MODEL = '[model]\nbase = "models/base.safetensors"\ntokenizers = "models/tokenizers"\n'
FLUX = f'{MODEL}clip_l = "models/clip_l.safetensors"\nt5xxl = "models/t5xxl.safetensors"\nae = "models/ae.safetensors"\n'
ZIMAGE = '[model]\nbase = "models/base.safetensors"\nvae = "models/ae.safetensors"\ntext_encoder = "models/t5xxl.safetensors"\n'
SAMPLE = '[sample]\nevery_n_epochs = 1\nprompts = ["{trigger}, portrait, smiling", "{trigger}, full body --w 768 --h 1344 --n blurry"]\n'
TOP = 'name = "maya"\ntrigger = "maya_char"\n'
DATA = '[dataset]\npath = "datasets/maya"\n'
CASES = {
    "sd15": f'preset = "sd15"\n{TOP}{MODEL}{DATA}{SAMPLE}',
    "wan22-ai-toolkit": f'preset = "wan22-aitk"\n{TOP}[model]\nbase = "models/wan"\n{DATA}',
    "sd15-embedded": f'preset = "sd15"\ntrainer = "embedded"\n{TOP}{MODEL}{DATA}{SAMPLE}',
    "sdxl-reg-validation": f'preset = "sdxl"\n{TOP}{MODEL}{DATA}reg_path = "datasets/person"\n[train]\nvalidation_split = 0.2\nsave_state = true\n'
    f"save_last_n_epochs = 2\nsave_every_n_epochs = 1\n{SAMPLE}",
    "zimage": f'preset = "zimage"\n{TOP}{ZIMAGE}{DATA}[train]\nsave_state = true\n[sample]\nevery_n_steps = 500\nprompts = ["{{trigger}}, portrait --w 768 --h 1344"]\n',
    "flux-two-cards": f'preset = "flux"\n{TOP}{FLUX}{DATA}[launch]\nprocesses = 2\n{SAMPLE}',
}


def project(root: Path, name: str, recipe: str) -> Path:
    folder(
        root / "datasets/maya/40_maya_char",
        [(1024, 1024), (1200, 800), (800, 1200), (1920, 1080), (1024, 1024), (900, 900)],
    )
    folder(root / "datasets/maya/20_maya_char realbody", [(1024, 1536), (768, 1344)])
    folder(root / "datasets/person/1_person", [(1024, 1024)] * 3, captions=False)
    (root / "models/wan").mkdir(parents=True, exist_ok=True)
    (root / "models/wan/model_index.json").write_text(
        '{"_class_name": "WanPipeline"}', encoding="utf-8"
    )
    base = flux() if name.startswith("flux") else sd(2048 if name.startswith("sdxl") else 768)
    if name == "zimage":
        base = dict.fromkeys(("noise_refiner.0.weight", "x_pad_token"), ("BF16", (4, 4)))
    weights(root / "models/base.safetensors", base)
    weights(
        root / "models/clip_l.safetensors", {"text_model.final_layer_norm.weight": ("F16", (768,))}
    )
    weights(
        root / "models/t5xxl.safetensors",
        {"encoder.block.0.layer.0.SelfAttention.q.weight": ("F16", (4096, 4096))},
    )
    weights(root / "models/ae.safetensors", {"decoder.conv_in.weight": ("F32", (512, 16, 3, 3))})
    for tokenizer in (
        "openai_clip-vit-large-patch14",
        "google_t5-v1_1-xxl",
        "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k",
    ):
        (root / "models/tokenizers" / tokenizer).mkdir(parents=True, exist_ok=True)
    file = root / "recipes/maya.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(recipe, encoding="utf-8")
    return file


@pytest.mark.parametrize("name", CASES)
def test_a_plan_says_what_it_said(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    resolved, faults = resolve(project(tmp_path, name, CASES[name]))
    (plan,) = make_plans(
        resolved, faults, run_dir=tmp_path / "runs/maya/2026-01-01-120000", machine=CUDA
    )
    show_plan(plan)
    texts = {
        **plan.files,
        "show.txt": capsys.readouterr().out,
        "command.txt": command_text(plan).replace(" ", "\n") + "\n",
        "faults.txt": "".join(
            f"{fault.severity} {fault.rule}: {fault}\n"
            for fault in plan.faults
            if fault.rule != "package-missing"
        ),  # what is installed is this machine's own affair
    }
    for file, text in texts.items():
        said = (
            text.replace(str(tmp_path), "/project")
            .replace(next(one for one in plan.argv if "python" in one), "python")
            .replace(str(Path(lorakit.__file__).parents[1]), "/lorakit")
        )
        golden = GOLDEN / name / file
        if request.config.getoption("--rewrite-golden", default=False):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(said, encoding="utf-8")
        assert said == golden.read_text(encoding="utf-8"), (
            f"{name}/{file}: `make golden`, if this is meant"
        )
