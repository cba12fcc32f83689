"""Run folders as a finished, running or dead run leaves them, written by hand: no training is needed to make a page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

MakeRun = Callable[..., Path]


def draw(
    path: Path, size: tuple[int, int] = (96, 64), colour: tuple[int, int, int] = (200, 90, 40)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def record_of(root: Path, **more: Any) -> dict[str, Any]:
    setting = lambda value, source="preset sd15": {"value": value, "source": source}  # noqa: E731
    return {
        "schema": 1,
        "lorakit": "0.1.0",
        "state": "done",
        "name": "fox",
        "recipe": f"{root}/recipes/fox.toml",
        "root": str(root),
        "trigger": "fox_kit",
        "family": "sd15",
        "preset": "sd15",
        "output_name": "fox",
        "started": "2026-01-01T12:00:00+00:00",
        "platform": {"system": "Linux", "arch": "x86_64", "python": "3.11.0", "gpus": []},
        "trainer": {
            "name": "kohya",
            "commit": "abc123",
            "packages": {"torch": "2.8.0", "left-pad": "1.0"},
        },
        "command": ["python", "train_network.py", f"--config_file={root}/runs/fox/x/train.toml"],
        "env": {},
        "settings": {
            "train": {
                "learning_rate": setting(1e-4, "recipes/fox.toml:9"),
                "resolution": setting("64"),
                "enable_bucket": setting(True),
                "min_bucket_reso": setting(32),
                "max_bucket_reso": setting(128),
                "bucket_reso_steps": setting(16),
            }
        },
        "steps": {
            "total": 100,
            "epochs": 1,
            "per_epoch": 100,
            "accumulation": 1,
            "formula": "10 x 10 = 100 draws",
        },
        "dataset": {
            "root": f"{root}/datasets/fox",
            "images": 3,
            "digest": "d1ge57",
            "files": "dataset.json",
        },
        "weights": [{"key": "base", "path": f"{root}/models/base.safetensors", "sha256": "ba5e"}],
        "warnings": [],
        "checkpoints": [],
        "states": [],
        "samples": [],
        "parts": [],
        "process": {},
        "supervisor": {},
        "outcome": {
            "step": 100,
            "total": 100,
            "loss": 0.1,
            "duration_s": 61.0,
            "seconds_a_step": 0.61,
        },
        **more,
    }


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Three images in two subsets, a falling loss, samples of two prompts after steps 50 and 100, one checkpoint."""

    def make(
        *,
        steps: int = 100,
        sample_steps: tuple[int, ...] = (50, 100),
        captions: tuple[str, ...] = ("fox_kit, in the snow",) * 3,
        run: str = "20260101-120000",
        apart: float = 0.0,
        **more: Any,
    ) -> Path:
        run_dir = tmp_path / "runs" / "fox" / run
        rows = []
        for number, caption in enumerate(captions):
            name = f"{'10_fox_kit' if number % 3 else '4_fox_kit_far'}/{number:03d}.png"
            size = (96, 64) if number % 2 else (64, 64)
            draw(tmp_path / "datasets" / "fox" / name, size)
            rows.append(
                {
                    "image": name,
                    "sha256": f"{number}",
                    "caption": caption,
                    "repeats": 10 if number % 3 else 4,
                    "width": size[0],
                    "height": size[1],
                }
            )
        samples = []
        for step in sample_steps:
            for prompt in (0, 1):
                path = f"output/sample/fox_{step:06d}_{prompt:02d}_20260101120000_42.png"
                draw(run_dir / path, (64, 64), (step % 256, 60 * prompt, 90))
                samples.append({"path": path, "step": step, "prompt": prompt})
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "output").mkdir(exist_ok=True)
        (run_dir / "output" / "fox.safetensors").write_bytes(b"weights")
        checkpoint = {
            "path": "output/fox.safetensors",
            "step": steps,
            "kind": "final",
            "size_bytes": 7,
            "sha256": "c0ffee",
            "finite": True,
        }
        record = record_of(tmp_path, **{"samples": samples, "checkpoints": [checkpoint], **more})
        (run_dir / "record.json").write_text(json.dumps(record))
        (run_dir / "dataset.json").write_text(
            json.dumps(sorted(rows, key=lambda row: str(row["image"])))
        )
        (run_dir / "prompts.toml").write_text(
            '[prompt]\n[[prompt.subset]]\nprompt = "fox_kit, portrait"\n[[prompt.subset]]\nprompt = "fox_kit, <running>"\n'
        )
        (run_dir / "progress.jsonl").write_text(
            "".join(
                json.dumps(
                    {
                        "step": step,
                        "epoch": 1,
                        "loss": 0.1
                        + apart * (step > 50)
                        + math.exp(-step / 30)
                        + 0.02 * math.sin(step),
                        "seconds": step * 0.6,
                        "lr": 1e-4,
                    }
                )
                + "\n"
                for step in range(1, steps + 1)
            )
        )
        return run_dir

    return make
