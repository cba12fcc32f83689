"""What is proven is read: flipped bytes are found although size and time say that nothing changed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.errors import RecipeError
from lorakit.events import silent
from lorakit.plan.model import Plan
from lorakit.proof import lock
from lorakit.proof.verify import require_same_inputs, verify_run
from lorakit.run.train import train
from lorakit.weights.fetch import check_hashes
from lorakit.weights.hashes import SMALL, path_digest
from lorakit.weights.reference import WeightFile


@pytest.fixture
def plan(make_plan: Callable[..., Plan], project: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(project)
    base = project / "models" / "base.safetensors"
    base.parent.mkdir()
    base.write_bytes(random.Random(1).randbytes(2 * SMALL))
    (project / "datasets/fox/10_fox/a.png").write_bytes(random.Random(2).randbytes(2 * SMALL))
    made = make_plan()
    weights = (WeightFile("pretrained_model_name_or_path", "models/base.safetensors", base),)
    return replace(made, settings=made.resolved.train, weights=weights)


def flip_unseen(path: Path) -> None:
    """64 bytes, with the size and the times of before."""
    before, content = path.stat(), bytearray(path.read_bytes())
    for at in random.Random(3).sample(range(len(content)), 64):
        content[at] ^= 0x55
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_verify_finds_64_flipped_bytes_and_quick_says_what_it_does_not_look_at(
    plan: Plan, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(plan).state == "done"
    assert main(["verify", "latest"]) == 0
    base, image = plan.weights[0].path, project / "datasets/fox/10_fox/a.png"
    flip_unseen(base)
    flip_unseen(image)
    capsys.readouterr()
    assert main(["verify", "latest", "--quick"]) == 0
    assert "Files that look unchanged (size, time) were not read." in capsys.readouterr().err
    assert main(["verify", "latest"]) == 1
    out, err = capsys.readouterr()
    assert str(base) in out and "10_fox/a.png" in out and "2 differences." in err
    assert len(verify_run(plan.run_dir)) == 2


def test_locked_reads_weights_and_images(plan: Plan, project: Path) -> None:
    path = lock.lock_path(plan.resolved.file)
    path.write_text(lock.text_of(lock.lock_of(plan)), encoding="utf-8")
    flip_unseen(plan.weights[0].path)
    flip_unseen(project / "datasets/fox/10_fox/a.png")
    with pytest.raises(RecipeError) as raised:
        lock.require_locked(plan)
    assert raised.value.message.startswith("2 differences from fox.lock.toml")


def test_a_new_lock_is_made_of_what_is_read(plan: Plan) -> None:
    base = plan.weights[0].path
    before = path_digest(base)[0]
    flip_unseen(base)
    assert lock.lock_of_all([plan])["weights"]["pretrained_model_name_or_path"]["sha256"] != before


def test_a_stated_hash_is_checked_against_the_bytes(plan: Plan) -> None:
    weight = plan.weights[0]
    stated = replace(weight, sha256=path_digest(weight.path)[0])
    check_hashes([stated], silent)
    flip_unseen(weight.path)
    with pytest.raises(RecipeError, match="the recipe says"):
        check_hashes([stated], silent)


def test_a_run_goes_on_only_with_the_bytes_that_it_began_with(plan: Plan, project: Path) -> None:
    assert train(plan).state == "done"
    assert require_same_inputs(plan.run_dir) == []
    flip_unseen(plan.weights[0].path)
    flip_unseen(project / "datasets/fox/10_fox/a.png")
    with pytest.raises(RecipeError, match="2 differences from what") as raised:
        require_same_inputs(plan.run_dir)
    assert "resume" in str(raised.value.hint)
