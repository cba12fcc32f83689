"""The judge with its real child on a tiny base: from the command to the record, and what a wrong file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.runs.record import read_record

pytestmark = pytest.mark.slow


def lora(path: Path, name: str, *, size: float) -> None:
    import torch
    from safetensors.torch import save_file

    save_file(
        {
            f"{name}.lora_down.weight": size * torch.ones(2, 32),
            f"{name}.lora_up.weight": size * torch.ones(32, 2),
        },
        path,
    )


def test_a_strong_disturbance_is_broken_a_small_one_is_not(
    judged_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny_bases import make_tiny

    make_tiny("sd15", judged_run.parents[2] / "base")
    name = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    output = judged_run / "output"
    lora(output / "maya-000002.safetensors", name, size=0.01)
    lora(output / "maya.safetensors", name, size=3.0)
    assert main(["judge", str(judged_run), "--strengths", "1.0", "--pictures"]) == 0
    found = read_record(judged_run).judged
    assert found.base is not None
    assert (found.base["with trigger"], found.base["variety"]) == (0, 1)
    assert all(cell.seen and cell.seen["variety"] > 0 for cell in found.listed)
    assert len(list((judged_run / "sheet").glob("*.png"))) == 16 * (1 + len(found.listed))
    assert (found.held_out, len(found.cells)) == (3, 2)
    drift = {cell.checkpoint: cell.drift or 0.0 for cell in found.cells}
    assert 0 <= drift["maya-000002.safetensors"] < drift["maya.safetensors"]
    assert "checkpoint  strength  verdict" in capsys.readouterr().out


def test_a_lora_of_another_model_and_a_base_that_is_gone_are_named(
    judged_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", str(judged_run)]) == 1
    assert "base does not exist" in capsys.readouterr().err
    from tiny_bases import make_tiny

    make_tiny("sd15", judged_run.parents[2] / "base")
    lora(judged_run / "output" / "maya.safetensors", "lora_unet_double_blocks_0", size=1.0)
    assert main(["judge", str(judged_run)]) == 1
    assert "fits no layer of base; it was trained on another model" in capsys.readouterr().err
    assert not read_record(judged_run).judged.cells
