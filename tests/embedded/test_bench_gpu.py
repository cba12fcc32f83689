"""The script that measures cards, run whole at toy size, and what it says where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

TOOL = Path(__file__).resolve().parents[2] / "tools" / "bench_gpu.py"


def bench(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *words], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
@pytest.mark.slow
def test_without_a_card_one_sentence_says_so(tmp_path: Path) -> None:
    done = bench(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "There is no CUDA device here; this measures NVIDIA cards.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.slow
def test_every_row_is_run_at_toy_size_and_stands_in_the_table_and_the_file(tmp_path: Path) -> None:
    names = ("sd15-b1", "sdxl-gc-b1", "flux-fp8-b1")
    words = ("--tiny", "--only", *names, "--long", "sd15-b1", "--out", "figures.json")
    done = bench(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert list(found["rows"]) == list(names)
    for name, both in found["rows"].items():
        assert set(both) == {"theirs", "ours"}
        for answer in both.values():
            assert (answer["code"], answer["said"], answer["steps"]) == (0, "", 9), (name, answer)
            assert answer["step_s"] > 0
            assert answer["long_s"] > answer["first_s"] > 0
        assert both["theirs"]["losses"] == both["ours"]["losses"]
    assert found["long"]["of"] == found["long"]["steps"] == 12
    for title in ("SD1.5 512 b1", "SDXL 1024 b1, checkpointing", "FLUX 1024 b1, fp8_base"):
        assert f"| {title} | " in done.stdout
    assert "12 steps of sd15-b1, start to file: " in done.stdout


@pytest.mark.slow
def test_with_compiled_each_row_has_another_beside_it_of_ours_alone(tmp_path: Path) -> None:
    words = ("--tiny", "--only", "sd15-b1", "flux-b1", "--compiled", "--limit", "1")
    done = bench(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "bench-gpu.json").read_text(encoding="utf-8"))["rows"]
    assert list(rows) == ["sd15-b1", "sd15-b1-compiled", "flux-b1", "flux-b1-compiled"]
    assert [len(both) for both in rows.values()] == [2, 1, 2, 1]
    assert "| SD1.5 512 b1, torch_compile | - / - |" in done.stdout


@pytest.mark.slow
def test_what_does_not_fit_into_the_time_is_left_out_and_named(tmp_path: Path) -> None:
    done = bench("--tiny", "--only", "sd15-b1", "sd15-b4", "--limit", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "bench-gpu.json").read_text(encoding="utf-8"))
    assert found["rows"]["sd15-b4"]["ours"]["said"] == "left out: the time limit"
    assert "sd15-b4, ours: left out: the time limit" in done.stdout
