"""`publish`: what leaves, as it was shown; and what does not leave."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from drawings import drawing
from hub_that_takes import TakingHub, taking_hub

from lorakit.cli.main import main
from lorakit.plan.model import Plan
from lorakit.run.train import train
from lorakit.weights.finite import inspect
from lorakit.weights.safetensors import copy_with_metadata, read_header

# huggingface_hub's own call of its HTTP client
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
STYLE = '[subject]\nkind = "style"\nsource = "my own drawings"\n'
PERSON = '[subject]\nkind = "person"\nreal_person = true\n'
CONSENT = 'consent = {{ by = "Maya Lind", date = 2026-11-28, scope = "{}" }}\n'
TO_HUB = ["publish", "latest", "--to", "hub", "--repo", "me/fox-lora"]
TO_FOLDER = ["publish", "latest", "--to", "folder", "--dir", "fox-lora"]


@pytest.fixture
def run_dir(make_plan: Callable[..., Plan], project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    plan = make_plan(train={"network_dim": 8})
    train(plan)
    said(project, STYLE)
    folder = plan.run_dir / "output" / "sample"
    folder.mkdir()
    for step in (2, 4):
        name = f"fox_{step:06}_00_20260101120000_42.png"
        (folder / name).write_bytes(photo_bytes(step))
    (plan.run_dir / "prompts.toml").write_text(
        '[[prompt.subset]]\nprompt = "fox, \\"red\\": snow"\n'
    )
    return plan.run_dir


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[TakingHub]:
    with taking_hub() as double:
        monkeypatch.setenv("HF_ENDPOINT", double.hub)
        monkeypatch.setenv("HF_TOKEN", double.token)
        yield double


def photo_bytes(seed: int) -> bytes:
    stream = io.BytesIO()
    drawing((64, 64), seed).save(stream, "png")
    return stream.getvalue()


def said(project: Path, subject: str) -> None:
    (project / "recipes" / "fox.toml").write_text(f'preset = "sd15"\n{subject}')


def front_of(card: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_a_dry_run_shows_every_file_and_the_card_and_writes_nothing(
    run_dir: Path, project: Path, hub: TakingHub, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {*project.rglob("*")}
    for words in (TO_FOLDER, TO_HUB):
        assert main(words) == 0
        told = capsys.readouterr()
        assert re.search(r"fox.safetensors +\d+ +[0-9a-f]{64}\n", told.out)
        assert "images/01.png" in told.out and "A LoRA for Stable Diffusion 1.5" in told.out
        assert "--write does it" in told.err
    assert {*project.rglob("*")} == before
    assert hub.asked == []


def test_a_folder_holds_the_card_the_lora_and_the_newest_pictures_with_their_prompts(
    run_dir: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TO_FOLDER, "--base", "me/my-base", "--write"]) == 0
    folder = project / "fox-lora"
    assert sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*")) == [
        *("README.md", "fox.safetensors", "images", "images/01.png")
    ]
    lora = folder / "fox.safetensors"
    assert inspect(lora).tensors_sha256 == inspect(run_dir / "output" / lora.name).tensors_sha256
    newest = next((run_dir / "output" / "sample").glob("fox_000004_*"))
    assert (folder / "images" / "01.png").read_bytes() == newest.read_bytes()
    card = (folder / "README.md").read_text()
    front = front_of(card)
    assert front == {
        "license": "creativeml-openrail-m",
        "base_model": "me/my-base",
        "base_model_relation": "adapter",
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "instance_prompt": "fox",
        "tags": ["text-to-image", "lora", "diffusers", "template:sd-lora", "sd15"],
        "widget": [{"text": 'fox, "red": snow', "output": {"url": "images/01.png"}}],
    }
    assert "Style. Pictures: my own drawings." in card
    assert str(project) not in card and "None" not in card
    assert "--licence" in capsys.readouterr().err
    assert main([*TO_FOLDER, "--write"]) == 1
    assert "exists already; nothing was overwritten" in capsys.readouterr().err


@pytest.mark.slow
def test_the_hub_gets_what_was_shown_in_one_commit_and_private(
    run_dir: Path, project: Path, hub: TakingHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TO_HUB, "--write"]) == 0
    told = capsys.readouterr()
    assert f"published: {hub.hub}/me/fox-lora, for you alone" in told.err
    assert hub.repos == {"me/fox-lora": True}
    held = hub.held["me/fox-lora"]
    assert held["README.md"].decode() in told.out
    assert {*held} == {"README.md", "fox.safetensors", "images/01.png"}
    assert sha256(held["fox.safetensors"]).hexdigest() in held["README.md"].decode()
    assert len([one for one in hub.asked if "/commit/" in one[1]]) == 1
    for path in [*project.rglob("*")]:
        assert not path.is_file() or hub.token.encode() not in path.read_bytes()
    assert main([*TO_HUB[:-1], "me/for-all", "--write", "--public"]) == 0
    assert hub.repos["me/for-all"] is False


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"held": {"me/fox-lora": {"README.md": b"other"}}, "repos": {"me/fox-lora": True}},
            "is taken",
        ),
        (
            {"held": {"me/fox-lora": {}}, "repos": {"me/fox-lora": False}},
            "is taken: everybody reads it",
        ),
        ({"token": "hf_another"}, "the token of HF_TOKEN is not valid"),
        ({"may_write": False}, "may not write there"),
        ({"fails_at": "/lfs/", "code": 400}, "Nothing was published"),
        ({"fails_at": "/lfs/", "code": 0}, "Nothing was published"),
        ({"fails_at": "/commit/", "code": 412}, "somebody wrote into it just now"),
        ({"fails_at": "/commit/", "code": 400}, "the hub answered 400"),
    ],
)
def test_what_the_hub_refuses_is_told_and_nothing_is_half_there(
    run_dir: Path,
    hub: TakingHub,
    change: dict[str, object],
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _s: None)
    for key, value in change.items():
        setattr(hub, key, value)
    before = json.dumps({name: [*held] for name, held in hub.held.items()})
    assert main([*TO_HUB, "--write"]) == 1
    err = capsys.readouterr().err
    assert told in err and "hf_right" not in err and "Traceback" not in err
    held = {name: [*held] for name, held in hub.held.items()}
    assert json.dumps(held) == before or held == {"me/fox-lora": []}


def test_after_a_broken_upload_the_same_command_publishes(run_dir: Path, hub: TakingHub) -> None:
    hub.fails_at, hub.code = "/commit/", 400
    assert main([*TO_HUB, "--write"]) == 1
    hub.fails_at = ""
    assert main([*TO_HUB, "--write"]) == 0
    assert "fox.safetensors" in hub.held["me/fox-lora"]


def test_without_a_token_in_the_environment_nothing_is_asked(
    run_dir: Path,
    hub: TakingHub,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert main([*TO_HUB, "--write"]) == 1
    assert "HF_TOKEN is not set; nothing was sent" in capsys.readouterr().err
    assert hub.asked == []


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("", "does not say what the pictures show"),
        (PERSON, "shows a real person, and no consent is recorded"),
        ('[subject]\nkind = "person"\n', "shows a real person, and no consent is recorded"),
        (PERSON + CONSENT.format("training, private use"), "is not publishing"),
        (PERSON + CONSENT.format("training, not for publishing"), "is not publishing"),
        (PERSON + 'consent = { by = "Maya Lind" }\n', "consent.date"),
    ],
)
def test_a_real_person_is_not_published_without_recorded_consent(
    run_dir: Path, project: Path, subject: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said(project, subject)
    for words in (TO_FOLDER, [*TO_FOLDER, "--write"]):
        assert main(words) == 1
        assert told in capsys.readouterr().err
    assert not (project / "fox-lora").exists()
    said(project, PERSON + CONSENT.format("training, publishing on the hub"))
    assert main([*TO_FOLDER, "--write"]) == 0
    card = (project / "fox-lora" / "README.md").read_text()
    assert "A real person, who agreed on 2026-11-28 to: training, publishing on the hub." in card
    assert "Maya Lind" not in card


def test_a_lora_that_was_changed_since_does_not_leave(
    run_dir: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = run_dir / "output" / "fox.safetensors"
    lora.write_bytes(lora.read_bytes()[:-50])
    assert main([*TO_FOLDER, "--write"]) == 1
    assert "where the record says" in capsys.readouterr().err
    assert not (project / "fox-lora").exists()


@pytest.mark.parametrize(("options", "told"), [("size=8k", "df -h"), ("ro", "findmnt -T")])
def test_a_full_or_read_only_disk_is_named_with_the_way_out_and_keeps_no_half(
    run_dir: Path, project: Path, options: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = project / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a test mount a file system")
    try:
        assert main([*TO_FOLDER[:-1], "disk/fox-lora", "--write"]) == 1
        err = capsys.readouterr().err
        assert told in err and "disk/" in err and "bug" not in err
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_the_words_of_captions_stay_at_home(run_dir: Path, project: Path) -> None:
    lora = run_dir / "output" / "fox.safetensors"
    told = {"ss_tag_frequency": '{"a": {"b": 1}}', "modelspec.title": "fox"}
    copy_with_metadata(lora, project / "told.safetensors", told, new=True)
    lora.write_bytes((project / "told.safetensors").read_bytes())
    record = json.loads((run_dir / "record.json").read_text())
    for one in record["checkpoints"]:
        one.pop("sha256", None)
    (run_dir / "record.json").write_text(json.dumps(record))
    assert main([*TO_FOLDER, "--write"]) == 0
    left = read_header(project / "fox-lora" / "fox.safetensors").metadata
    assert left == {"modelspec.title": "fox"}


def test_the_judges_shortlist_and_the_lock_are_on_the_card(run_dir: Path, project: Path) -> None:
    path = run_dir / "record.json"
    cell = {"checkpoint": "fox.safetensors", "label": "step 4", "strength": 0.8}
    cell |= {"verdict": "listed", "held": -0.125, "drift": 0.03}
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"judged": {"held_out": 5, "cells": [cell]}}))
    digest = record["dataset"]["digest"]
    lock = project / "recipes" / "fox.lock.toml"
    lock.write_text(f'version = 1\n[dataset]\ndigest = "{digest}"\n')
    assert main([*TO_FOLDER, "--write"]) == 0
    card = (project / "fox-lora" / "README.md").read_text()
    assert "| step 4 | 0.8 | -0.125 | 0.0300 |" in card
    assert f"| sha256 of the lock | {sha256(lock.read_bytes()).hexdigest()} |" in card
