"""Fetching what a recipe names by hf:, from a hub on this machine that cuts lines, asks for tokens and tells lies."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hub_stand_in import Hub, hub
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http
from PIL import Image

from lorakit.cli.main import main
from lorakit.errors import LorakitError, RecipeError, SetupError
from lorakit.events import Event
from lorakit.plan.model import Plan
from lorakit.recipe.model import Setting
from lorakit.weights import fetch
from lorakit.weights.hashes import path_digest
from lorakit.weights.hub import look, reference
from lorakit.weights.reference import WeightFile

DATA = os.urandom(3_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
ASKED = "hf:owner/repo/sub/base model.safetensors@v1"
COMMIT = "c0" * 20
PLACE = "owner/repo/resolve/v1/sub/base%20model.safetensors"


@pytest.fixture(autouse=True)
def standing_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for module in (file_download, _http):
        monkeypatch.setattr(
            module, "time", SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
        )
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with hub() as one:
        monkeypatch.setenv("HF_ENDPOINT", one.hub + "/")
        one.files[PLACE] = DATA
        yield one


def get(target: Path, asked: str = ASKED, **options: Any) -> str:
    found = reference(asked)
    return fetch.fetch(found, target, look(found), **options)


def parts(target: Path) -> list[Path]:
    return list(target.parent.glob(".*.part"))


def test_a_file_comes_complete_into_its_place_with_its_hash_and_commit(tmp_path: Path) -> None:
    target, seen = tmp_path / "deep" / "base.safetensors", list[tuple[int, int]]()
    fetched = get(
        target, sha256=DIGEST.upper(), progress=lambda there, total: seen.append((there, total))
    )
    assert fetched == DIGEST
    assert target.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert parts(target) == []
    assert path_digest(target)[0] == DIGEST


def test_a_cut_line_is_taken_up_again_where_it_broke(tmp_path: Path, standing_in: Hub) -> None:
    standing_in.cut_at = [16 << 16, 24 << 16]
    get(tmp_path / "base.safetensors")
    assert (tmp_path / "base.safetensors").read_bytes() == DATA
    assert [
        asked
        for server, method, asked, _ in standing_in.seen
        if (server, method) == ("store", "GET")
    ] == ["", f"bytes={16 << 16}-", f"bytes={24 << 16}-"]


def test_what_an_earlier_start_has_fetched_is_kept_and_only_the_rest_comes(
    tmp_path: Path, standing_in: Hub
) -> None:
    target = tmp_path / "base.safetensors"

    def ctrl_c(there: int, _total: int) -> None:
        if there >= 1 << 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(target, progress=ctrl_c)
    kept = parts(target)[0].stat().st_size
    assert 0 < kept < len(DATA)
    get(target)
    assert standing_in.seen[-1][2] == f"bytes={kept}-"
    assert target.read_bytes() == DATA


def test_a_server_that_cannot_resume_sends_all_of_it_again(
    tmp_path: Path, standing_in: Hub
) -> None:
    standing_in.cut_at, standing_in.ranges = [1_000_000], False
    get(tmp_path / "base.safetensors")
    assert (tmp_path / "base.safetensors").read_bytes() == DATA


def test_a_file_of_unknown_size_is_whole_when_its_hash_is_right(
    tmp_path: Path, standing_in: Hub
) -> None:
    standing_in.says_size = False
    assert get(tmp_path / "base.safetensors") == DIGEST
    standing_in.cut_at = [1_000_000]
    with pytest.raises(RecipeError, match="the hub says"):
        get(tmp_path / "other.safetensors")


def test_a_part_of_another_content_is_not_continued(tmp_path: Path, standing_in: Hub) -> None:
    target = tmp_path / "base.safetensors"
    standing_in.cut_at = [1_000_000] + [0] * 9
    with pytest.raises(
        SetupError, match=r"broke at \d+ kB of 3.0 MB.\n.*the same command goes on from there"
    ):
        get(target)
    standing_in.cut_at = []
    standing_in.files[PLACE] = DATA[::-1]
    get(target)
    assert target.read_bytes() == DATA[::-1]
    assert parts(target) == []


def test_bytes_that_are_not_what_the_hub_said_leave_nothing_behind(
    tmp_path: Path, standing_in: Hub
) -> None:
    target = tmp_path / "base.safetensors"
    standing_in.lies = True
    with pytest.raises(RecipeError, match=f"what came has sha256 {DIGEST}, the hub says"):
        get(target)
    assert not target.exists()
    assert parts(target) == []


def test_another_hash_than_the_recipe_says_is_known_before_the_first_byte(
    tmp_path: Path, standing_in: Hub
) -> None:
    with pytest.raises(RecipeError, match=f"has sha256 {DIGEST}, the recipe says 000"):
        get(tmp_path / "base.safetensors", sha256="0" * 64)
    assert [method for _, method, _, _ in standing_in.seen] == ["HEAD"]


def in_the_shared_cache(data: bytes = DATA) -> Path:
    """As another program of the same user, which fetched it by huggingface_hub, leaves it."""
    folder = Path(constants.HF_HUB_CACHE) / "models--owner--repo"
    blob, place = folder / "blobs" / DIGEST, folder / "snapshots" / COMMIT / "sub"
    for parent in (blob.parent, place, folder / "refs"):
        parent.mkdir(parents=True)
    blob.write_bytes(data)
    (place / "base model.safetensors").symlink_to(blob)
    (folder / "refs" / "v1").write_text(COMMIT)
    return blob


@pytest.mark.parametrize("offline", ["", "1"])
def test_what_another_program_has_fetched_already_is_taken_from_the_shared_cache(
    tmp_path: Path, standing_in: Hub, monkeypatch: pytest.MonkeyPatch, offline: str
) -> None:
    blob, target = in_the_shared_cache(), tmp_path / "base.safetensors"
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    found = look(reference(ASKED))
    assert found.commit == (COMMIT if offline else "c0ffee")
    assert fetch.fetch(reference(ASKED), target, found, sha256=DIGEST) == DIGEST
    assert target.samefile(blob)
    assert not target.is_symlink()  # kohya would follow it to a name without .safetensors
    assert len(standing_in.seen) == (0 if offline else 1)


def test_a_damaged_file_of_the_shared_cache_is_not_used_and_not_touched(tmp_path: Path) -> None:
    blob, target = in_the_shared_cache(DATA[:-1] + b"?"), tmp_path / "base.safetensors"
    with pytest.raises(RecipeError, match="what came has sha256"):
        get(target)
    assert (blob.exists(), target.exists(), parts(target)) == (True, False, [])


def test_a_hub_that_sends_more_than_it_announced_is_stopped(
    tmp_path: Path, standing_in: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = reference(ASKED)
    remote = look(found)._replace(size=1_000_000)
    with pytest.raises(SetupError, match="sends more than the size it announced"):
        fetch.fetch(found, tmp_path / "base.safetensors", remote)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org")
    with pytest.raises(SetupError, match="without encryption"):
        fetch.fetch(found, tmp_path / "other.safetensors", remote)


def test_a_gated_repository_says_which_licence_to_accept(
    tmp_path: Path, standing_in: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing_in.gated = "hf_right"
    with pytest.raises(
        SetupError,
        match=f"Accept the licence at {standing_in.hub}/owner/repo, make a token .* export HF_TOKEN=",
    ):
        get(tmp_path / "base.safetensors")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(SetupError, match="the account of your token may not read it") as told:
        get(tmp_path / "base.safetensors")
    assert "hf_wrong" not in str(told.value)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    get(tmp_path / "base.safetensors")


def test_the_token_goes_to_the_hub_and_to_nobody_else(
    tmp_path: Path, standing_in: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    get(tmp_path / "base.safetensors")
    assert {(server, token) for server, _, _, token in standing_in.seen} == {
        ("hub", "Bearer hf_secret"),
        ("store", ""),
    }


def test_a_saved_login_opens_what_is_gated_too(
    tmp_path: Path, standing_in: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing_in.gated = "hf_right"
    (tmp_path / "token").write_text("hf_right")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert get(tmp_path / "base.safetensors") == DIGEST


def test_huggingface_hub_is_not_imported_before_something_is_fetched() -> None:
    code = "import sys, lorakit.cli.train, lorakit.weights.fetch; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "huggingface_hub" not in out.stdout.split()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            "hf:owner/repo/other.safetensors@v1",
            "owner/repo has no file 'other.safetensors' at revision v1",
        ),
        ("hf:owner/repo/base.safetensors@v9", "owner/repo has no revision 'v9'"),
        (
            "hf:owner/nothing/base.safetensors",
            "there is no repository owner/nothing, or it is private",
        ),
        ("hf:owner/repo", "names no file on the hub"),
    ],
)
def test_the_error_says_which_part_of_the_name_is_not_there(
    tmp_path: Path, asked: str, told: str
) -> None:
    with pytest.raises(RecipeError, match=told):
        get(tmp_path / "base.safetensors", asked)


def test_a_busy_hub_is_asked_again(make_plan: Any, standing_in: Hub) -> None:
    standing_in.busy = 3
    fetch.fetch_missing(wanting(make_plan).weights, told := Told())
    assert "fetched " in told.lines[-1]


def test_no_network_is_one_clear_error(make_plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        SetupError,
        match=r"127.0.0.1:9 cannot be reached: .*onnection.*\nFetch the file by other means",
    ):
        fetch.fetch_missing(wanting(make_plan).weights, Told())
    monkeypatch.setenv("HF_ENDPOINT", "hub.example.org")
    with pytest.raises(SetupError, match="is not a web address"):
        fetch.fetch_missing(wanting(make_plan).weights, Told())


def test_offline_means_no_request_at_all(
    make_plan: Any, standing_in: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SetupError, match="HF_HUB_OFFLINE is set"):
        fetch.fetch_missing(wanting(make_plan).weights, Told())
    assert standing_in.seen == []


def test_a_disk_without_room_is_known_before_the_first_byte(
    tmp_path: Path, standing_in: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "free_disk", lambda _: 1000)
    with pytest.raises(SetupError, match=r"needs 3.0 MB in .*; 1 kB are free"):
        get(tmp_path / "base.safetensors")
    assert [method for _, method, _, _ in standing_in.seen] == ["HEAD"]


def test_a_disk_that_fills_up_keeps_what_came(tmp_path: Path) -> None:
    target = tmp_path / "base.safetensors"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (2_000_000, before[1])
    )  # stands in for a disk of that size
    try:
        with pytest.raises(
            SetupError, match=r"base.safetensors: File too large.\nWhat came is kept"
        ):
            get(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert parts(target)[0].stat().st_size == 2_000_000
    get(target)
    assert target.read_bytes() == DATA


def test_two_at_once_do_not_write_into_one_file(tmp_path: Path) -> None:
    target = tmp_path / "base.safetensors"
    with (
        fetch._alone(target),
        pytest.raises(SetupError, match="is being fetched by another lorakit"),
    ):
        get(target)


def test_size_and_source_are_reported_before_anything_comes(
    make_plan: Any, standing_in: Hub
) -> None:
    at_first: list[int] = []
    told = Told()

    def emit(event: Event) -> None:
        at_first.append(sum(method == "GET" for _, method, _, _ in standing_in.seen))
        told(event)

    fetch.fetch_missing(wanting(make_plan).weights, emit, every_s=0.0)
    assert at_first[0] == 0
    assert told.lines[0].startswith(f"fetching {ASKED} (3.0 MB) from {standing_in.hub} to ")
    assert any("100 % of 3.0 MB" in line for line in told.lines)
    assert told.lines[-1].endswith(f"sha256 {DIGEST}, commit c0ffee")


def test_a_stated_hash_is_held_against_a_file_that_is_here(make_plan: Any, project: Path) -> None:
    plan = wanting(make_plan, sha256={"base": DIGEST})
    (project / "models").mkdir()
    (project / "models" / "base.safetensors").write_bytes(DATA)
    here = replace(plan, weights=tuple(replace(weight, present=True) for weight in plan.weights))
    fetch.check_hashes(here.weights, Told())
    (project / "models" / "base.safetensors").write_bytes(DATA[:-1])
    with pytest.raises(LorakitError, match="nothing was started"):
        fetch.check_hashes(here.weights, Told())


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: Event) -> None:
        self.lines.append(event.text or "")


def wanting(make_plan: Any, sha256: Any = DIGEST) -> Plan:
    plan: Plan = make_plan()
    path = plan.resolved.root / "models" / "base.safetensors"
    model = {"base": Setting(ASKED, "recipe"), "sha256": Setting(sha256, "recipe")}
    weight = WeightFile(
        "pretrained_model_name_or_path",
        ASKED,
        path,
        ASKED,
        present=False,
        sha256=sha256["base"] if isinstance(sha256, dict) else sha256,
    )
    return replace(plan, weights=(weight,), resolved=replace(plan.resolved, model=model))


RECIPE = f"""
family = "sd15"
trainer = "embedded"
trigger = "zwx"
[model]
base = "{ASKED}"
[dataset]
path = "data"
[train]
network_dim = 4
network_alpha = 2
learning_rate = 1e-3
resolution = "64"
max_train_epochs = 1
mixed_precision = "no"
"""


def test_train_fetches_looks_at_what_came_and_refuses_it_before_anything_starts(
    tmp_path: Path, standing_in: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    header = json.dumps(
        {"lora_unet_x.lora_down.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    ).encode()
    standing_in.files[PLACE] = len(header).to_bytes(8, "little") + header + bytes(4)
    (tmp_path / "data" / "2_zwx").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "data" / "2_zwx" / "a.png")
    (tmp_path / "data" / "2_zwx" / "a.txt").write_text("zwx, black")
    recipe = tmp_path / "fox.toml"
    recipe.write_text(RECIPE)
    assert main(["plan", str(recipe)]) == 0
    assert standing_in.seen == []  # a plan asks nobody
    capsys.readouterr()
    assert main(["train", str(recipe)]) == 1
    err = capsys.readouterr().err
    assert f"fetching {ASKED} (" in err
    assert "is a LoRA, not a base model" in err
    assert err.count("error: ") == 1
    assert not (tmp_path / "runs").exists()
    requests = len(standing_in.seen)
    assert main(["train", str(recipe)]) == 1
    assert len(standing_in.seen) == requests
    recipe.write_text(RECIPE.replace("model.safetensors", "model.ckpt"))
    assert main(["train", str(recipe)]) == 1
    assert "is a pickled file" in capsys.readouterr().err
    assert len(standing_in.seen) == requests  # a pickle is refused before it is fetched
