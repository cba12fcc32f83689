"""The plan's numbers against sd-scripts' own code: the same files, read by its parser, counted by its dataset classes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from plan_cases import CUDA, flux, folder, recipe, sd, sd15_base, weights

from lorakit import proc
from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan

PROBE = Path(__file__).with_name("dataset_probe.py")
MIXED = [(512, 512), (640, 480), (480, 640), (1024, 576), (700, 900), (512, 512), (333, 1200)]
SQUARE = [(512, 512)] * 5


@dataclass(frozen=True)
class Case:
    train: dict[str, Any] = field(default_factory=dict)
    data: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {"10_maya": MIXED})
    reg: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    family: str = "sd15"
    processes: int = 1
    folders: bool = False
    without: tuple[str, ...] = ()
    dataset: dict[str, Any] = field(default_factory=dict)


FLUX = {
    "network_module": "networks.lora_flux",
    "cache_text_encoder_outputs": True,
    "mixed_precision": "bf16",
    "timestep_sampling": "flux_shift",
    "model_prediction_type": "raw",
    "guidance_scale": 1.0,
}
CASES = {
    "one square folder": Case(data={"4_maya": SQUARE}),
    "aspect ratios": Case(),
    "batches of 3": Case({"train_batch_size": 3}),
    "batches of 4, accumulated 3": Case({"train_batch_size": 4, "gradient_accumulation_steps": 3}),
    "two folders": Case({"train_batch_size": 2}, {"40_maya": MIXED, "20_maya_body": SQUARE}),
    "no upscaling": Case({"bucket_no_upscale": True, "train_batch_size": 2}),
    "no upscaling, wide step": Case(
        {"bucket_no_upscale": True, "bucket_reso_steps": 128},
        {"3_maya": [(512, 512), (1300, 700), (2000, 800)]},
    ),
    "another resolution": Case(
        {"resolution": "384,640", "min_bucket_reso": 200, "max_bucket_reso": 1000}
    ),
    "buckets off": Case({"enable_bucket": False, "cache_latents": True, "train_batch_size": 4}),
    "few regularisation images": Case({"train_batch_size": 2}, reg={"1_person": MIXED[:4]}),
    "many regularisation images": Case(
        data={"2_maya": SQUARE}, reg={"1_person": MIXED, "3_other": MIXED}
    ),
    "regularisation images of one repeat more": Case(
        data={"3_maya": MIXED}, reg={"2_person": MIXED[:5]}
    ),
    "validation held back": Case(
        {"validation_split": 0.3, "validation_seed": 7}, {"5_maya": MIXED, "2_body": MIXED}
    ),
    "validation beside regularisation": Case(
        {"validation_split": 0.2, "train_batch_size": 2}, reg={"1_person": MIXED}
    ),
    "two processes": Case({"train_batch_size": 2}, processes=2),
    "three processes, accumulated": Case({"gradient_accumulation_steps": 4}, processes=3),
    "steps instead of epochs": Case({"max_train_steps": 50}, without=("max_train_epochs",)),
    "steps, the last epoch cut": Case(
        {"max_train_steps": 101, "gradient_accumulation_steps": 2}, without=("max_train_epochs",)
    ),
    "folder mode": Case(
        {"train_batch_size": 2},
        {"10_maya": MIXED, "3_a_b": SQUARE},
        {"1_person": SQUARE},
        folders=True,
    ),
    "sdxl, step 32": Case(
        {
            "resolution": "1024,1024",
            "max_bucket_reso": 2048,
            "bucket_reso_steps": 32,
            "no_half_vae": True,
        },
        family="sdxl",
    ),
    "three resolutions": Case(
        {"train_batch_size": 3, "max_bucket_reso": 1536},
        {"3_maya": MIXED, "2_body": SQUARE},
        {"1_person": MIXED[:3]},
        dataset={"resolutions": [384, 512, 768]},
    ),
    "three resolutions, some held back": Case(
        {"train_batch_size": 2, "validation_split": 0.3, "gradient_accumulation_steps": 2},
        {"5_maya": MIXED},
        processes=2,
        dataset={"resolutions": [512, 384]},
    ),
    "a folder without a number": Case(
        {"train_batch_size": 2},
        {"2_maya": SQUARE, "portraits": MIXED},
        dataset={"subset": {"portraits": {"num_repeats": 3}}},
    ),
    "metadata": Case(
        {"train_batch_size": 2, "max_bucket_reso": 1024},
        {"pictures": MIXED, "3_more": SQUARE},
        dataset={
            "resolutions": [512, 640],
            "subset": {
                "pictures": {"metadata_file": "pictures.json", "num_repeats": 2},
                "3_more": {"metadata_file": "3_more.json"},
            },
        },
    ),
    "flux": Case({**FLUX, "resolution": "512", "train_batch_size": 2}, family="flux"),
}


def planned(root: Path, case: Case) -> Plan:
    for name, sizes in case.data.items():
        folder(root / "data" / name, sizes)
    for name, sizes in case.reg.items():
        folder(root / "reg" / name, sizes, captions=False)
    for name, own in case.dataset.get("subset", {}).items():
        where = "" if name == "pictures" else f"{root / 'data' / name}/"
        entries = {
            f"{where}{number:03d}.png": {"caption": f"maya_char, picture {number}"}
            for number in range(len(case.data[name]))
        }
        if "metadata_file" in own:
            (root / own["metadata_file"]).write_text(json.dumps(entries), encoding="utf-8")
    sd15_base(root)
    model = {}
    if case.family == "sdxl":
        weights(root / "base.safetensors", sd(2048))
    if case.family == "flux":
        weights(root / "base.safetensors", flux())
        weights(root / "l.safetensors", {"text_model.final_layer_norm.weight": ("F16", (768,))})
        weights(
            root / "t5.safetensors",
            {"encoder.block.0.layer.0.SelfAttention.q.weight": ("F16", (4096, 4096))},
        )
        weights(root / "ae.safetensors", {"decoder.conv_in.weight": ("F32", (512, 16, 3, 3))})
        model = {"clip_l": "l.safetensors", "t5xxl": "t5.safetensors", "ae": "ae.safetensors"}
    resolved = recipe(
        root,
        case.train,
        family=case.family,
        without=case.without,
        model=model,
        launch={"processes": case.processes},
        dataset={
            "mode": "folders" if case.folders else "toml",
            **case.dataset,
            **({"reg_path": "reg"} if case.reg else {}),
        },
    )
    plan = make_plan(resolved, run_dir=root / "run", machine=CUDA)
    assert [str(fault) for fault in plan.faults if fault.severity == "error"] == []
    for name, text in plan.files.items():
        (root / "run").mkdir(exist_ok=True)
        (root / "run" / name).write_text(text, encoding="utf-8")
    return plan


@pytest.mark.real
def test_batches_steps_epochs_and_buckets_are_those_of_the_real_script(
    tmp_path: Path, sd_scripts: Path
) -> None:
    from lorakit.config import user_setting

    python = user_setting("sd_scripts_python")
    assert python is not None
    plans = {
        name: planned(tmp_path / name.replace(" ", "-").replace(",", ""), case)
        for name, case in CASES.items()
    }
    asked = [
        {
            "script": Path(plan.argv[-3]).name,
            "toml": str(plan.run_dir / "train.toml"),
            "processes": CASES[name].processes,
        }
        for name, plan in plans.items()
    ]
    (tmp_path / "cases.json").write_text(json.dumps(asked), encoding="utf-8")
    answer = proc.ask(
        [python[0], str(PROBE), str(tmp_path / "cases.json")],
        cwd=sd_scripts,
        timeout_s=300,
        env={
            "PYTHONPATH": str(sd_scripts),
            "PYTHONUTF8": "1",
            "HF_HUB_OFFLINE": "1",
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
        },
    )
    assert answer.code == 0, answer.err[-3000:]
    for (name, plan), real in zip(
        plans.items(), json.loads(answer.out.splitlines()[-1]), strict=True
    ):
        steps = plan.steps
        assert "error" not in real, (name, real)
        ours = {
            "batches": steps.batches,
            "mine": steps.batches_per_process,
            "train_images": steps.train_images,
            "reg_images": steps.reg_images,
            "validation_images": steps.validation_images,
            "total": steps.total,
            "epochs": steps.epochs,
            "buckets": [
                [f"{bucket.width}x{bucket.height}", bucket.draws] for bucket in steps.buckets
            ],
        }
        assert ours == {key: real[key] for key in ours}, name
        used = {str(image.path) for bucket in steps.buckets for image in bucket.images}
        assert used == set(real["captions"]), name
        assert all(
            caption in (f"maya_char, picture {int(Path(path).stem)}", "person", "other")
            for path, caption in real["captions"].items()
        ), name
        if not plan.faults:
            assert not used & set(real["held"]), name
