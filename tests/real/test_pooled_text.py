"""Where sd-scripts and diffusers read the same SDXL file differently, and which of them we follow."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from lorakit.embedded.models.layouts import _OPEN_CLIP_OUTSIDE  # noqa: E402
from lorakit.proc import ask  # noqa: E402
from lorakit.trainers.kohya.locate import require  # noqa: E402

pytestmark = pytest.mark.real
ASKED = """
import json
import types

import torch
from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
from library.sdxl_model_util import convert_sdxl_text_encoder_2_checkpoint

name = "conditioner.embedders.1.model."
file = {name + "text_projection": torch.arange(6.0).view(2, 3)}
theirs, _ = convert_sdxl_text_encoder_2_checkpoint(dict(file), 77)
model = types.SimpleNamespace(config=types.SimpleNamespace(projection_dim=3))
diffusers = convert_open_clip_checkpoint(model, dict(file), name)
shapes = [list(read["text_projection.weight"].shape) for read in (theirs, diffusers)]
print(json.dumps(shapes))
"""


def test_the_pooled_text_of_a_single_sdxl_file_is_projected_as_diffusers_does(
    sd_scripts: Path,
) -> None:
    """A file holds the projection as OpenCLIP multiplies it, a Linear its transpose: sd-scripts
    takes it as it is. The day it no longer does, parity needs to share nothing of the text.
    """
    environment = {**os.environ, "PYTHONPATH": str(sd_scripts), "PYTHONDONTWRITEBYTECODE": "1"}
    answer = ask([str(require().python), "-c", ASKED], timeout_s=300, env=environment)
    assert answer.code == 0, answer.err[-2000:]
    theirs, diffusers = json.loads(answer.out.splitlines()[-1])
    assert (theirs, diffusers) == ([2, 3], [3, 2])
    assert _OPEN_CLIP_OUTSIDE["text_projection.weight"].transposed
