"""Secrets planted in every place a person may put one; then every file and every line is searched."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest
from plan_cases import folder, sd15_base

from lorakit.cli.main import main
from lorakit.run.resume.resume import job_of_record
from lorakit.runs.record import read_record
from lorakit.show import say_bug

PLANTED = {
    "in the recipe": "S3CRET-recipe-wandb",
    "in the recipe, by no telling name": "S3CRET-recipe-plain",
    "in the preset": "S3CRET-preset-aws",
    "with --set": "S3CRET-set-database",
    "in a URL in env": "S3CRET-url-in-env",
    "hub": "S3CRET-endpoint",
    "token": "S3CRET-hub-token",
    "proxy": "S3CRET-proxy",
    "base": "S3CRET-base-url",
    "option": "S3CRET-option",
    "queue": "S3CRET-queue",
    "notify": "S3CRET-notify",
}
PRESET = f"""
[about]
title = "toy"
family = "sd15"
[launch]
env = {{ AWS_KEY = "{PLANTED["in the preset"]}" }}
[train]
network_dim = 8
network_alpha = 4
learning_rate = 1e-4
resolution = "512,512"
enable_bucket = true
max_train_epochs = 1
network_train_unet_only = true
optimizer_type = "AdamW"
lr_scheduler = "cosine"
sdpa = true
"""
RECIPE = f"""
preset = "toy"
trainer = "embedded"
name = "maya"
trigger = "maya_char"
[model]
base = "base.safetensors"
tokenizers = "tokenizers"
[dataset]
path = "data"
[launch]
python = "stand-in"
[launch.env]
WANDB_API_KEY = "{PLANTED["in the recipe"]}"
CITY = "{PLANTED["in the recipe, by no telling name"]}"
MIRROR = "https://fox:{PLANTED["in a URL in env"]}@mirror.example/x"
"""
# It runs nothing: it says which of the secrets it was given, without saying them.
STAND_IN = f"""#!{sys.executable}
import hashlib, json, os
print(json.dumps({{k: hashlib.sha256(v.encode()).hexdigest() for k, v in os.environ.items()}}))
raise SystemExit(1)
"""
DATABASE = f"--set=launch.env.DATABASE_PWD={PLANTED['with --set']}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sd15_base(tmp_path)
    folder(tmp_path / "data" / "10_maya_char", [(512, 512), (640, 480)])
    for name, text in {"recipes/maya.toml": RECIPE, "presets/toy.toml": PRESET}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "stand-in").write_text(STAND_IN, encoding="utf-8")
    (tmp_path / "stand-in").chmod(0o755)
    for name in ("tmp", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", f"http://fox:{PLANTED['hub']}@127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", f"http://fox:{PLANTED['proxy']}@127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", PLANTED["token"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def leaks(project: Path, said: str) -> list[tuple[str, str]]:
    """(where, which); the user's own recipe and preset hold theirs."""
    texts = {"output": said}
    own = {project / "recipes/maya.toml", project / "presets/toy.toml"}
    for path in project.rglob("*"):
        if path.is_file() and path not in own:
            texts[str(path.relative_to(project))] = path.read_bytes().decode("latin-1")
    return [
        (where, which)
        for where, text in texts.items()
        for which, secret in PLANTED.items()
        if secret in text
    ]


@pytest.mark.slow
def test_planted_secrets_are_in_no_file_and_in_no_output(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    maya = "recipes/maya.toml"
    password = f"https://fox:{PLANTED['base']}@host.example/base.safetensors"
    option = f"https://fox:{PLANTED['option']}@host.example"
    for words in (
        ["plan", maya, DATABASE],
        ["plan", maya, DATABASE, "--json"],
        ["plan", maya, DATABASE, "--write", "out"],
        ["plan", maya, "--set", f"model.base={password}"],
        ["plan", maya, "--set", f"model.base={password}", "--json"],
        ["plan", maya, "--set", f"training_comment={option}", "--json"],
        ["plan", maya, "--set", f"train.wandb_api_key={PLANTED['option']}", "--json"],
        ["plan", maya, "--set", f"launch.env={PLANTED['option']}", "--json"],
        ["train", maya, "--set", "model.base=hf:fox/base/b.safetensors@main"],
        ["train", maya, DATABASE, "--notify", f"'{PLANTED['notify']}"],
        ["train", maya, DATABASE, "--json"],
        ["report", "latest"],
        ["explain", "latest", "--json"],
        ["runs"],
        ["runs", "--json"],
        ["lock", maya],
        ["verify", "latest"],
        ["resume", "latest"],
        ["diff", "maya", "maya"],
        ["presets", "show", "toy", "--resolved"],
        ["presets", "show", "toy", "--json"],
        ["dataset", "bundle", maya],
        ["queue", "add", maya, "--set", f"launch.env.X={PLANTED['queue']}"],
        ["train", maya, "--queue", "--set", f"launch.env.X={PLANTED['queue']}"],
        ["queue", "add", maya, "--set", f'launch.env={{X = "{PLANTED["queue"]}"}}'],
        ["queue", "add", maya, "--set", f"huggingface_token={PLANTED['queue']}"],
        ["queue", "add", maya, "--set", f"model.base={password}"],
        ["queue", "add", maya],
        ["queue", "run"],
        ["queue", "list", "--json"],
    ):
        assert main(words) in {0, 1, 4}, words
        out, err = capfd.readouterr()
        assert leaks(project, out + err) == [], words
    say_bug(
        RuntimeError("broken"),
        ["train", DATABASE, "--set", DATABASE[6:], "--notify", PLANTED["notify"]],
    )
    out, err = capfd.readouterr()
    assert leaks(project, out + err) == []
    assert any(project.glob("runs/maya/*/report.html"))
    assert any(project.glob("tmp/lorakit-bug-*"))


def test_the_names_are_recorded_and_the_training_gets_the_values(project: Path) -> None:
    import hashlib

    main(["train", "recipes/maya.toml", DATABASE])
    (run,) = project.glob("runs/maya/*")
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    names = {"AWS_KEY", "WANDB_API_KEY", "CITY", "MIRROR", "DATABASE_PWD"}
    assert record["settings"]["launch"]["env"]["value"] == dict.fromkeys(names, "(not recorded)")
    assert {key for key, value in record["env"].items() if value == "(not recorded)"} == names
    given = json.loads(
        next(iter(re.findall(r"^\{.*\}$", (run / "log.txt").read_text(), re.MULTILINE)))
    )
    for name, secret in {
        "WANDB_API_KEY": PLANTED["in the recipe"],
        "AWS_KEY": PLANTED["in the preset"],
        "DATABASE_PWD": PLANTED["with --set"],
        "MIRROR": f"https://fox:{PLANTED['in a URL in env']}@mirror.example/x",
        "HF_ENDPOINT": os.environ["HF_ENDPOINT"],
    }.items():
        assert given[name] == hashlib.sha256(secret.encode()).hexdigest()


def test_a_queue_refuses_what_no_file_may_hold_and_says_where_it_belongs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["queue", "add", "recipes/maya.toml", "--set", "launch.env.HF_TOKEN=x"]) == 1
    assert capsys.readouterr().err == (
        "--set launch.env.HF_TOKEN: the queue is a file, and this value belongs in none; nothing"
        " was queued.\n"
        "Set HF_TOKEN in the environment of `lorakit queue run`: the training inherits it.\n"
    )
    assert not (project / ".lorakit/queue.json").exists()
    assert main(["queue", "add", "recipes/maya.toml", "--set", "network_dim=4"]) == 0
    queue = project / ".lorakit/queue.json"
    assert stat.S_IMODE(queue.stat().st_mode) == 0o600


def test_the_shown_command_takes_private_values_from_the_shell(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["plan", "recipes/maya.toml", "-v"])
    assert 'WANDB_API_KEY="${WANDB_API_KEY}"' in capsys.readouterr().out


def test_a_resume_takes_private_values_from_the_recipe_of_today(project: Path) -> None:
    main(["train", "recipes/maya.toml", DATABASE])
    (run,) = project.glob("runs/maya/*")
    env = job_of_record(read_record(run)).env
    assert env["WANDB_API_KEY"] == PLANTED["in the recipe"]
    assert env["AWS_KEY"] == PLANTED["in the preset"]
    assert "DATABASE_PWD" not in env  # it was typed, so it must be in the environment
    assert "(not recorded)" not in env.values()
    (project / "recipes/maya.toml").unlink()
    assert "WANDB_API_KEY" not in job_of_record(read_record(run)).env
