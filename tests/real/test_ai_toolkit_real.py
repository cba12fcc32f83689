"""The real ai-toolkit, really training on this CPU: the demo's SD1.5, and a FLUX and a Wan 2.2 of
random weights.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_images import draw
from pace import until
from without_lorakit import numbers_of

from lorakit.catalogue.ai_toolkit import OF_LORAKIT, PLACES, SCRIPT, read_ai_toolkit
from lorakit.catalogue.options import options
from lorakit.cli.main import main
from lorakit.proc import ask
from lorakit.runs.find import progress_rows, run_dirs
from lorakit.runs.record import Record, read_record
from lorakit.weights.safetensors import read_header

pytestmark = pytest.mark.real

HERE = Path(__file__).parent
DEMO = HERE.parents[1] / "recipes/demo/base"
RECIPE = """
family = "{family}"
trainer = "ai-toolkit"
name = "fox"
trigger = "zxfox"
[model]
base = "{base}"
[dataset]
path = "datasets/fox"
[train]
resolution = "128"
enable_bucket = true
network_dim = 4
optimizer_type = "AdamW"
learning_rate = 1e-3
max_train_steps = 6
save_every_n_steps = 2
mixed_precision = "no"
save_precision = "float"
max_data_loader_n_workers = 0
cache_latents = true
seed = 5
[launch]
num_cpu_threads = 1
"""


@pytest.fixture(scope="module")
def made() -> dict[str, Path]:
    """Random weights, made once."""
    return {}


@pytest.fixture
def toy(
    ai_toolkit: Path,
    made: dict[str, Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A project with three pictures and a recipe for SD1.5."""
    del ai_toolkit
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if not made:
        made["place"] = tmp_path_factory.mktemp("toy")
        maker = HERE / "ai_toolkit_toy" / "make.py"
        places = (str(made["place"] / one) for one in ("models", "hub"))
        python = os.environ["LORAKIT_AI_TOOLKIT_PYTHON"]
        answer = ask([python, str(maker), *places, str(DEMO)], timeout_s=300, cwd=tmp_path)
        assert answer.code == 0, answer.err[-3000:]
    monkeypatch.setenv("HF_HUB_CACHE", str(made["place"] / "hub"))
    (tmp_path / "models").symlink_to(made["place"] / "models")
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "datasets/fox/2_zxfox", [(128, 128), (128, 128), (160, 96)])
    write(tmp_path, "sd15", str(DEMO))
    return tmp_path


def write(root: Path, family: str, base: str) -> Path:
    file = root / "recipes/fox.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(RECIPE.format(family=family, base=base), encoding="utf-8")
    return file


def train(root: Path, *words: str) -> int:
    return main(["train", str(root / "recipes/fox.toml"), *(f"--set={word}" for word in words)])


def only_run(root: Path) -> tuple[Path, Record]:
    (place,) = run_dirs(root)
    return place, read_record(place)


def step_in(path: Path) -> int:
    """As ai-toolkit says it: counted from 0 in the middle of a run."""
    return int(json.loads(read_header(path).metadata["training_info"])["step"])


def test_every_setting_that_its_source_looks_up_is_known(ai_toolkit: Path) -> None:
    theirs, ours = read_ai_toolkit(ai_toolkit)["options"], options("ai-toolkit", SCRIPT)
    assert set(theirs) | {*PLACES, *OF_LORAKIT} == set(ours)


@pytest.mark.slow
def test_sd15_is_trained_as_planned_and_the_pictures_are_untouched(toy: Path) -> None:
    before = {path: path.read_bytes() for path in (toy / "datasets").rglob("*") if path.is_file()}
    prompts = ("sample.prompts=['a fox']", "sample.every_n_steps=2", "sample.steps=2")
    assert train(toy, *prompts) == 0
    place, record = only_run(toy)
    after = {path: path.read_bytes() for path in (toy / "datasets").rglob("*") if path.is_file()}
    assert after == before
    assert (record.state, record.outcome.step) == ("done", 6)
    planned = {Path(one.name).name: one.step for one in record.steps.checkpoints}
    assert planned == {"fox_000000002.safetensors": 3, "fox_000000004.safetensors": 5, "fox.safetensors": 6}  # fmt: skip
    assert {Path(one.path).name: one.step for one in record.checkpoints} == planned
    assert step_in(place / "output/fox_000000004.safetensors") == 4
    assert len(record.samples) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "files"), [("flux", {"fox"}), ("wan22", {"fox_high_noise", "fox_low_noise"})]
)
def test_a_transformer_is_trained_as_planned(toy: Path, family: str, files: set[str]) -> None:
    write(toy, family, f"models/{family}")
    assert train(toy) == 0
    place, record = only_run(toy)
    assert (record.state, record.outcome.step) == ("done", 6)
    assert {Path(one.path).name: one.step for one in record.checkpoints} == {
        one.name: one.step for one in record.steps.checkpoints
    }
    final = {Path(one.path).stem for one in record.checkpoints if one.step == 6}
    assert final == files
    for name in files:
        header = read_header(place / f"output/{name}.safetensors")
        assert all(key.endswith((".lora_A.weight", ".lora_B.weight")) for key in header.tensors)


@pytest.mark.slow
def test_wan_is_trained_on_a_film_as_planned(toy: Path) -> None:
    """So many frames, spread over the whole of it; the pictures beside it are one frame each."""
    pytest.importorskip("av", reason='pip install "lorakit[video]"')
    from films import film

    film(toy / "datasets/fox/2_zxfox/walk.mp4", 25, size=(160, 96))
    write(toy, "wan22", str(toy / "models/wan22"))
    words = ("dataset.target_frames=[5]", "train_high_noise=false", "max_train_steps=3")
    assert train(toy, *words, "save_every_n_steps=10") == 0
    place, record = only_run(toy)
    assert (record.state, record.outcome.step) == ("done", 3)
    log = (place / "log.txt").read_text(encoding="utf-8", errors="replace")
    assert "Found 2 videos and 6 images" in log  # two repeats of each
    assert "x5f: 2 files" in log


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", "wan22"])
def test_killed_and_resumed_it_makes_the_steps_that_were_left_at_their_rates(
    toy: Path, family: str
) -> None:
    if family != "sd15":
        write(toy, family, f"models/{family}")
    words = ("max_train_steps=16", "save_every_n_steps=5", "lr_scheduler=cosine")
    assert train(toy, *words) == 0
    command = [sys.executable, "-m", "lorakit", "train", "recipes/fox.toml"]
    with subprocess.Popen([*command, *(f"--set={word}" for word in words)], cwd=toy) as child:
        until_saved(toy, runs=2)
        place = max(run_dirs(toy))
        os.killpg(read_record(place).process.pid, signal.SIGKILL)
        assert child.wait(60) != 0
    assert main(["resume", "latest"]) == 0
    peace, resumed = (read_record(one) for one in sorted(run_dirs(toy)))
    assert (resumed.state, resumed.outcome.step) == ("done", 16)
    assert resumed.part.from_step in {6, 11}
    names = {Path(one.path).name: one.step for one in peace.checkpoints}
    assert {Path(one.path).name: one.step for one in resumed.checkpoints} == names
    expected, rates = (rates_of(one) for one in sorted(run_dirs(toy)))
    later = set(rates) & set(expected)
    assert max(later) > 12  # its bar leaves out frames of steps this fast
    assert {step: rates[step] for step in later} == {step: expected[step] for step in later}
    log = (place / "log.txt").read_text(encoding="utf-8", errors="replace")
    assert f"Loading optimizer state from {place}" in log
    assert "Failed to load optimizer" not in log


def rates_of(place: Path) -> dict[int, float]:
    return {row["step"]: row["lr"] for row in progress_rows(place) if row.get("lr")}


LOADED = """
import json, os, sys
sys.path.insert(0, os.environ["AI_TOOLKIT"])
from toolkit.job import get_job
process = get_job("ai-toolkit.yaml").process[0]
print("LOADED " + json.dumps([
    process.train_config.steps, process.train_config.lr, process.train_config.ema_config.use_ema,
    process.network_config.linear, process.model_config.arch, process.save_config.save_every,
    [[one.num_repeats, sorted(name for name in os.listdir(one.folder_path) if name[0] != ".")]
     for one in process.dataset_configs],
    os.path.realpath(process.save_root)]))
"""


def exported(toy: Path) -> tuple[Path, dict[str, str]]:
    """The folder, and the environment its script wants."""
    assert main(["export", "recipes/fox.toml", "--to", "ai-toolkit"]) == 0
    env = {name: one for name, one in os.environ.items() if not name.startswith("LORAKIT_")}
    python = Path(os.environ["LORAKIT_AI_TOOLKIT_PYTHON"]).parent
    path = f"{python}:{env['PATH']}"
    checkout = os.environ["LORAKIT_AI_TOOLKIT"]
    return toy / "exports/fox", {**env, "PATH": path, "AI_TOOLKIT": checkout}


@pytest.mark.parametrize(
    ("family", "arch"), [("sd15", "sd1"), ("flux", "flux"), ("wan22", "wan22_14b")]
)
def test_its_own_loader_takes_what_is_exported(toy: Path, family: str, arch: str) -> None:
    write(toy, family, str(DEMO) if family == "sd15" else f"models/{family}")
    place, env = exported(toy)
    told = subprocess.run(
        ["python", "-c", LOADED], cwd=place, env=env, capture_output=True, text=True, check=False
    )
    line = next((one for one in told.stdout.splitlines() if one.startswith("LOADED ")), "")
    assert line, told.stderr[-3000:]
    pictures = [2, ["000.png", "000.txt", "001.png", "001.txt", "002.png", "002.txt"]]
    saved = str((place / "training/fox").resolve())
    assert json.loads(line[7:]) == [6, 1e-3, False, 4, arch, 2, [pictures], saved]


@pytest.mark.slow
def test_an_exported_folder_trains_without_lorakit_and_comes_back_as_the_same_plan(
    toy: Path,
) -> None:
    place, env = exported(toy)
    done = subprocess.run(
        ["sh", str(place / "train.sh")],
        cwd="/",
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    trained = place / "training/fox"
    assert sorted(one.name for one in trained.glob("*.safetensors")) == ["fox.safetensors", "fox_000000002.safetensors", "fox_000000004.safetensors"]  # fmt: skip
    assert step_in(trained / "fox_000000004.safetensors") == 4
    assert main(["import", str(place), "--name", "again"]) == 0
    assert main(["train", "recipes/again.toml"]) == 0
    ours = next(toy.glob("runs/again/*/output/again.safetensors"))
    assert numbers_of(ours) == numbers_of(trained / "fox.safetensors")


# Provoked: each of these it takes in silence, left to itself.


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("arch=zimagee",), "Did you mean zimage?"),
        (("gradient_acumulation=2",), "run.py has no such option"),
        (("output_name=c",), "c is how another file begins that ai-toolkit writes"),
        ((), "001.png: cannot be decoded"),
        ((), "1 picture without a caption file would train with none, such as 001.png"),
    ],
)
def test_what_it_takes_in_silence_is_refused_before_it_starts(
    toy: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = toy / "datasets/fox/2_zxfox/001.png"
    if "decoded" in told:
        picture.write_bytes(picture.read_bytes()[:60])  # its header is sound
    if "caption" in told:
        picture.with_suffix(".txt").unlink()
    assert train(toy, *words) == 1
    assert told in capsys.readouterr().err
    assert not run_dirs(toy)


@pytest.mark.slow
def test_left_to_itself_it_trains_what_lorakit_refuses(toy: Path) -> None:
    """A broken picture, one without a caption, an unknown key and an unknown arch: exit code 0. A
    name that begins like config.yaml: it goes on from that, and dies.
    """
    place, env = exported(toy)
    folder, config = toy / "datasets/fox/2_zxfox", place / "ai-toolkit.yaml"
    (folder / "000.png").write_bytes((folder / "000.png").read_bytes()[:60])
    (folder / "001.txt").unlink()
    sound = config.read_text(encoding="utf-8")
    odd = sound.replace("arch: sd1", "arch: zimagee").replace("lr: ", "gradient_acumulation: 2\n      lr: ", 1)  # fmt: skip
    assert odd.count("zimagee") == odd.count("acumulation") == 1
    codes = {}
    for name in ("fox", "c"):
        config.write_text(odd.replace("name: fox", f"name: {name}"), encoding="utf-8")
        done = subprocess.run(
            ["sh", str(place / "train.sh")], env=env, capture_output=True, text=True, check=False
        )
        codes[name] = done.returncode
    assert codes == {"fox": 0, "c": 1}, done.stderr[-2000:]
    assert (place / "training/fox/fox.safetensors").is_file()


@pytest.mark.slow
def test_a_nan_that_it_shows_as_0_has_failed(toy: Path) -> None:
    assert train(toy, "learning_rate=1e30") == 4
    _, record = only_run(toy)
    assert (record.state, record.outcome.nan) == ("failed", True)


@pytest.mark.slow
def test_interrupted_it_exits_with_0_and_has_been_stopped(toy: Path) -> None:
    words = [f"--set={one}" for one in ("max_train_steps=400", "save_every_n_steps=3")]
    command = [sys.executable, "-m", "lorakit", "train", "recipes/fox.toml", *words]
    with subprocess.Popen(command, cwd=toy) as child:
        until_saved(toy)
        assert main(["stop", "latest", "--now"]) == 0
        assert child.wait(60) != 0
    _, record = only_run(toy)
    assert record.state == "stopped"
    assert not [one for one in record.checkpoints if one.fault]


def until_saved(root: Path, runs: int = 1) -> None:
    until(lambda: len(list(root.glob("runs/fox/*/output/optimizer.pt"))) == runs, seconds=240)
