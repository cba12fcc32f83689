"""Tasks for SkyPilot: readable YAML, and its own parser and checks where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from engine_runs import MakeSweep

from lorakit.cli.main import main

yaml = pytest.importorskip("yaml")
CATALOGUE = {  # of its own, so that it asks no network
    "accelerators.csv": "AcceleratorName,Clouds\n"
    + "".join(
        f"{name},\"['AWS']\"\n" for name in ("L4", "A10G", "RTX4090", "L40S", "A100", "H100")
    ),
    "metadata.csv": "GPU,MemoryGB,Manufacturer\nL4,24,NVIDIA\n",
}
PRICES = {"L4": (24, 0.43), "RTX4090": (24, 0.69), "L40S": (48, 0.86), "H100": (80, 2.4)}
CHECK = """
import sys, sky
from sky import check, global_user_state as state
from sky.clouds.cloud import CloudCapability
from sky.optimizer import Optimizer
workspace = "default"
state.set_allowed_clouds(check._get_workspace_allowed_clouds(workspace), workspace)
for capability in CloudCapability:  # as if `sky check` had found an account there
    state.set_enabled_clouds(["RunPod"], capability, workspace)
for path in sys.argv[1:]:
    task = sky.Task.from_yaml(path)
    task.validate()
    with sky.Dag() as dag:
        dag.add(task)
    for one in task.resources:
        print(task.name, one.accelerators, one.use_spot, one.job_recovery["strategy"])
    Optimizer.optimize(dag, quiet=True)
    best = task.best_resources
    print("chosen", task.name, best.cloud, best.accelerators, f"{best.get_cost(3600):.2f} an hour")
"""


def runpod_prices() -> str:
    """A cloud's catalogue in SkyPilot's form, so that its optimizer needs neither network nor account."""
    text = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Region,SpotPrice,Price,AvailabilityZone\n"
    for name, (memory, price) in PRICES.items():
        about = {"MemoryInfo": {"SizeInMiB": memory * 1024}, "Name": name, "Count": 1.0}
        gpus = {"Gpus": [about], "TotalGpuMemoryInMiB": memory * 1024}
        text += f'1x_{name}_SECURE,{name},1,8,50,"{gpus}",CA,{price / 2},{price},CA-MTL-1\n'
    return text


def task_of(recipe: str, *more: str) -> dict[str, Any]:
    assert main(["train", recipe, "--on", "sky", "--bucket", "my-loras", *more]) == 0
    return dict(yaml.safe_load(Path(f"sky/{recipe}.yaml").read_text(encoding="utf-8")))


def test_a_task_says_cards_by_memory_bundles_bucket_and_how_it_goes_on(
    maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = task_of("maya", "--set", "network_dim=16")
    assert (
        "sky jobs launch -n maya sky/maya.yaml    # this rents a machine" in capsys.readouterr().err
    )
    assert task["resources"]["accelerators"]["L4"] == 1
    assert "H200" not in task["resources"]["accelerators"]
    mounts = task["file_mounts"]
    assert mounts["~/project/runs"] == {"name": "my-loras", "mode": "MOUNT_CACHED"}
    assert Path(mounts["~/recipe"], "recipes", "maya.toml").read_bytes() == maya.read_bytes()
    (bundle,) = (one for place, one in mounts.items() if "bundles" in place)
    assert main(["dataset", "bundle", "verify", bundle]) == 0
    assert "lorakit resume maya" in task["run"]
    assert "lorakit train recipes/maya.toml --set=network_dim=16" in task["run"]
    for script in (task["setup"], task["run"]):
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_a_lock_beside_the_recipe_goes_along_and_binds(maya: Path) -> None:
    maya.with_name("maya.lock.toml").write_text("version = 1\n")
    assert "lorakit train recipes/maya.toml --locked" in task_of("maya")["run"]


@pytest.mark.parametrize("bucket", ["", "My Loras", "a", "x; rm -rf"])
def test_a_bucket_that_cannot_be_is_refused_and_nothing_is_written(
    bucket: str, maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "maya", "--on", "sky", "--bucket", bucket]) == 1
    assert "can be no bucket's name" in capsys.readouterr().err
    assert not Path("sky").exists()


def test_private_values_go_into_no_task(maya: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--bucket", "loras", "--set", "launch.env.HF_TOKEN=hf_x"]
    assert main(["train", "maya", "--on", "sky", *words]) == 1
    assert "nothing was sent" in capsys.readouterr().err
    assert not Path("sky").exists()


def test_a_sweep_is_a_task_for_each_point_and_the_pictures_once(
    make_sweep: MakeSweep, maya: Path
) -> None:
    make_sweep("network_dim=8,16,32")
    assert main(["sweep", "run", "rank", "--on", "sky", "--bucket", "my-loras"]) == 0
    assert len(list(Path("sky").glob("rank-0?.yaml"))) == 3
    assert len(list(Path("sky/.bundles").iterdir())) == 1


@pytest.mark.slow
def test_skypilot_itself_takes_every_task(
    make_sweep: MakeSweep, maya: Path, own_home: Path
) -> None:
    program = shutil.which("sky")
    if not program:
        pytest.skip("no SkyPilot here (pip install skypilot==0.14.1, in a venv on PATH)")
    python = Path(program).read_text(encoding="utf-8").partition("\n")[0].removeprefix("#!")
    make_sweep("network_dim=8,16")
    assert main(["sweep", "run", "rank", "--on", "sky", "--bucket", "my-loras"]) == 0
    place = own_home / ".sky" / "catalogs" / "v8" / "common"
    place.mkdir(parents=True)
    for name, text in CATALOGUE.items():
        (place / name).write_text(text)
    (place.parent / "runpod").mkdir()
    (place.parent / "runpod" / "vms.csv").write_text(runpod_prices())
    env = {**os.environ, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    words = [python, "-c", CHECK, *map(str, sorted(Path("sky").glob("*.yaml")))]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "rank-01 {'L4': 1} True FAILOVER" in done.stdout
    assert "rank-02 {'RTX4090': 1} True FAILOVER" in done.stdout
    assert "chosen rank-01 RunPod {'L4': 1} 0.21 an hour" in done.stdout  # the cheapest that fits
