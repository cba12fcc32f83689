"""LyCORIS' own modules give the numbers that ours give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorakit.proc import ask
from lorakit.trainers.kohya.locate import require

pytestmark = [pytest.mark.real, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.usefixtures("sd_scripts")
def test_answers_and_gradients_are_those_of_lycoris_modules() -> None:
    argv = [
        str(require().python),
        "-B",
        str(Path(__file__).with_name("lycoris_peer.py")),
        str(ROOT),
    ]
    answer = ask(argv, timeout_s=300)
    assert answer.code == 0, answer.err[-3000:]
    if answer.out.strip() == "absent":
        pytest.skip("lycoris-lora is not installed beside sd-scripts")
    found = json.loads(answer.out.strip().splitlines()[-1])
    assert len(found) == 16
    assert max(found.values()) < 1e-5, found
