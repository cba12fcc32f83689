from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from plan_cases import CUDA, PLAIN, folder, recipe

from lorakit.dataset.scan import scan
from lorakit.machine import Gpu, Machine
from lorakit.plan.complete import completed
from lorakit.plan.estimate import estimate, verdict
from lorakit.plan.foreseen import Estimate
from lorakit.plan.run_checks import package_faults, run_faults, tokenizer_faults
from lorakit.plan.steps import count_steps
from lorakit.recipe.options import Options


def rules(
    root: Path,
    train: dict[str, Any] | None = None,
    machine: Machine = CUDA,
    needs: Estimate | None = None,
) -> list[str]:
    folder(root / "data" / "1_maya", [(512, 512)])
    resolved = completed(Options(recipe(root, train)), root / "run", ())
    steps, _ = count_steps(resolved, scan(root / "data"))
    found = needs or estimate(resolved, steps)
    return [
        fault.rule
        for fault in run_faults(resolved, steps, found, machine, verdict(resolved, found, machine))
    ]


def test_a_sound_run_raises_no_question(tmp_path: Path) -> None:
    assert rules(tmp_path) == []


def test_files_that_would_be_overwritten_are_found_before(tmp_path: Path) -> None:
    (tmp_path / "run/output").mkdir(parents=True)
    (tmp_path / "run/output/maya-000001.safetensors").write_bytes(b"old")
    assert rules(tmp_path, {"save_every_n_epochs": 1}) == ["output-exists"]
    assert rules(tmp_path) == []


def test_a_full_disk_is_known_before(tmp_path: Path) -> None:
    assert rules(tmp_path, needs=Estimate(1, 1, 1, 10**18, 1, 1, "")) == ["disk-space"]


@pytest.mark.parametrize(
    "machine",
    [
        Machine("Linux", "x86_64", 4, 1 << 30, ()),
        Machine("Linux", "x86_64", 4, 64 << 30, (Gpu("small", 1 << 30),)),
    ],
)
def test_too_little_memory_is_a_warning_because_the_figure_is_rough(
    tmp_path: Path, machine: Machine
) -> None:
    assert rules(tmp_path, machine=machine) == ["memory"]


@pytest.mark.parametrize("name", ["a/b", "..", "a\\b", "x" * 240, "nul", "C:x", ".", " a"])
def test_an_output_name_is_a_file_name(tmp_path: Path, name: str) -> None:
    assert rules(tmp_path, {"output_name": name}) == ["output-name"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_that_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o500)
    assert rules(tmp_path) == ["output-read-only"]


def test_a_file_in_the_place_of_the_output_folder_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("", encoding="utf-8")
    assert rules(tmp_path) == ["output-read-only"]


def test_only_safetensors_are_saved(tmp_path: Path) -> None:
    assert rules(tmp_path, {"save_model_as": "ckpt"}) == ["pickle-out"]


def test_tokenizers_that_are_not_here_are_a_note_and_offline_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = completed(Options(recipe(tmp_path)), tmp_path / "run", ())
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert [(fault.rule, fault.severity) for fault in tokenizer_faults(resolved, {})] == [
        ("tokenizers-fetched", "note")
    ]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert [(fault.rule, fault.severity) for fault in tokenizer_faults(resolved, {})] == [
        ("tokenizers-offline", "error")
    ]
    (tmp_path / "tokenizers/openai_clip-vit-large-patch14").mkdir(parents=True)
    assert list(tokenizer_faults(resolved, {})) == []


def test_a_cpu_machine_is_judged_by_its_memory(tmp_path: Path) -> None:
    assert rules(tmp_path, machine=PLAIN) == []


def venv(root: Path, *modules: str, open_to_the_system: bool = False) -> Path:
    (root / "venv/bin").mkdir(parents=True)
    (root / "venv/pyvenv.cfg").write_text(
        f"include-system-site-packages = {str(open_to_the_system).lower()}\n", encoding="utf-8"
    )
    for module in ("torch", *modules):
        (root / "venv/lib/python3.11/site-packages" / module).mkdir(parents=True)
    return root / "venv/bin/python"


@pytest.mark.parametrize(
    ("settings", "package"),
    [
        ({"optimizer_type": "PagedAdamW"}, "bitsandbytes"),
        ({"optimizer_type": "lion8bit"}, "bitsandbytes"),
        ({"use_8bit_adam": True}, "bitsandbytes"),
        ({"optimizer_type": "Lion"}, "lion-pytorch"),
        ({"optimizer_type": "Prodigy"}, "prodigyopt"),
        ({"xformers": True}, "xformers"),
        ({"optimizer_type": "AdamWScheduleFree"}, "schedulefree"),
        ({"log_with": "all"}, "wandb"),
    ],
)
def test_a_package_that_the_trainer_will_miss_is_known_before(
    tmp_path: Path, settings: dict[str, Any], package: str
) -> None:
    folder(tmp_path / "data" / "1_maya", [(512, 512)])
    found = list(package_faults(Options(recipe(tmp_path, settings)), venv(tmp_path)))
    assert [fault.rule for fault in found] == ["package-missing"]
    assert found[0].hint.endswith(f"/python -m pip install {package}")


def test_a_package_is_missed_only_where_that_is_certain(tmp_path: Path) -> None:
    prodigy = Options(recipe(tmp_path, {"optimizer_type": "Prodigy"}))
    assert list(package_faults(prodigy, venv(tmp_path / "a", "prodigyopt"))) == []
    assert list(package_faults(prodigy, venv(tmp_path / "b", open_to_the_system=True))) == []
    assert list(package_faults(prodigy, tmp_path / "usr/bin/python3")) == []
    assert (
        list(
            package_faults(
                Options(recipe(tmp_path, {"optimizer_type": "AdamW"})), venv(tmp_path / "c")
            )
        )
        == []
    )
