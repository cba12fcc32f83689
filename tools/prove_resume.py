"""Is a resumed run the same as an undisturbed one? `lorakit train` trains both with one recipe, and
their curves are laid over each other.

    python tools/prove_resume.py                      sd-scripts on a stand-in for SD1.5 (2 GB file,
                                                      7 GB of memory), 64 px, 24 steps
    python tools/prove_resume.py --trainer embedded   our own trainer on a tiny base
    python tools/prove_resume.py --keep FOLDER --picture FILE.png

One run is undisturbed. In the other, the trainer is killed (SIGKILL) after ten steps;
`lorakit resume` goes on from the end of the first epoch; `lorakit stop` ends it inside the second
one; `lorakit resume` ends it. Exit code 0: both ended, the learning rate is equal at every step,
files and their step counts are equal; with the embedded trainer also every loss and every tensor.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT))

from lorakit.errors import LorakitError  # noqa: E402  (the path is set first)
from lorakit.rehearse import standin  # noqa: E402
from lorakit.report.series import read_numbers  # noqa: E402
from lorakit.report.two_runs import Agreement, agreement_of  # noqa: E402
from lorakit.runs.find import find_run, run_dirs  # noqa: E402
from lorakit.runs.record import read_record  # noqa: E402
from lorakit.show import table  # noqa: E402
from lorakit.weights.finite import inspect  # noqa: E402

RECIPE = """
family  = "sd15"
trainer = "{trainer}"
name    = "ball"
trigger = "ball"
[model]
base = "{base}"
[dataset]
path = "datasets/ball"
[train]
resolution = "64,64"
network_dim = 4
network_alpha = 2
learning_rate = 1e-3
lr_scheduler = "cosine"
lr_warmup_steps = 4
optimizer_type = "AdamW"
mixed_precision = "no"
max_train_epochs = 3
train_batch_size = 1
cache_latents = true
max_data_loader_n_workers = 0
network_train_unet_only = true
sdpa = true
seed = 7
save_state = true
save_every_n_epochs = 1
save_every_n_steps = 6
"""
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "orange", "purple")
KILL_AFTER, STOP_AFTER = 10, 2  # steps of 24, 8 an epoch; states after 6, 8, 12, 16, 18 and 24


@dataclass(frozen=True)
class Proof:
    """The two runs, and what was found out about them."""

    peace: Path
    resumed: Path
    agreement: Agreement
    files_equal: bool  # names and ss_steps of every LoRA; the embedded trainer's stop adds one
    tensors_equal: bool  # of the final one

    @property
    def parts(self) -> list[int]:
        return [part.from_step or 0 for part in read_record(self.resumed).parts]


def prove(folder: Path, trainer: str) -> Proof:
    """Train both; raises LorakitError where a run does not end as it should."""
    base = (
        standin.weights("sd15", say)["base"]
        if trainer == "kohya"
        else _tiny(folder / "models" / "tiny")
    )
    _draw(folder / "datasets" / "ball" / "1_ball")
    (folder / "recipes").mkdir()
    (folder / "recipes" / "ball.toml").write_text(
        RECIPE.format(trainer=trainer, base=base.as_posix()), encoding="utf-8"
    )
    say("left in peace")
    _lorakit(folder, "train", "recipes/ball.toml", wanted=0)
    peace = find_run("ball", folder)
    say(f"killed after {KILL_AFTER} steps")
    other = _disturbed(folder, ["train", "recipes/ball.toml"], KILL_AFTER, _kill, wanted=4)
    say(f"resumed, and stopped after {STOP_AFTER} steps")
    _disturbed(
        folder,
        ["resume", "ball"],
        STOP_AFTER,
        lambda run_dir: _lorakit(folder, "stop", str(run_dir), wanted=0),
        wanted=130,
    )
    say("resumed to the end")
    _lorakit(folder, "resume", "ball", wanted=0)
    final = Path("output") / "ball.safetensors"
    return Proof(
        peace,
        other,
        agreement_of(peace, other),
        _files(peace).items() <= _files(other).items(),
        inspect(peace / final).tensors_sha256 == inspect(other / final).tensors_sha256,
    )


def show(proof: Proof) -> None:
    rate, loss = [], []
    for run_dir in (proof.peace, proof.resumed):
        numbers = read_numbers(run_dir, read_record(run_dir))
        rate.append(dict(next(iter(numbers.rates.values()))))
        loss.append(dict(numbers.loss))
    rows = []
    for step in sorted(loss[0].keys() | loss[1].keys()):
        lr, losses = [one.get(step) for one in rate], [one.get(step) for one in loss]
        first, second = losses
        apart = "" if first is None or second is None else f"{second - first:+.6f}"
        rows.append(
            (
                step,
                *("-" if one is None else f"{one:.9g}" for one in lr),
                "yes" if lr[0] == lr[1] else "NO",
                *("-" if one is None else f"{one:.6f}" for one in losses),
                apart,
                "resumed here" if step - 1 in proof.parts else "",
            )
        )
    table(
        ("step", "lr", "lr resumed", "equal", "loss", "loss resumed", "difference", ""),
        rows,
        right=("step", "lr", "lr resumed", "loss", "loss resumed", "difference"),
    )
    print()
    for line in proof.agreement.lines():
        print(line)
    print(f"files: names and ss_steps {'equal' if proof.files_equal else 'DIFFERENT'}")
    print(f"tensors of the final LoRA: {'equal' if proof.tensors_equal else 'different'}")
    for part in read_record(proof.resumed).parts:
        print(f"resumed from step {part.from_step}: {'; '.join(part.inexact) or 'exact in all'}")


def holds(proof: Proof, trainer: str) -> bool:
    found = proof.agreement
    exact = trainer == "kohya" or (proof.tensors_equal and found.losses_equal == found.steps)
    return (
        found.rate_steps == found.steps == 24
        and found.rate_differs_at is None
        and proof.files_equal
        and exact
    )


def picture(page: Path, out: Path) -> None:
    """The curves of the page, as Chromium draws them."""
    from playwright.sync_api import sync_playwright

    chromium = next(
        (
            path
            for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser")
            if Path(path).exists()
        ),
        None,
    )
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        shown = browser.new_page(viewport={"width": 1000, "height": 900}, color_scheme="light")
        shown.goto(page.as_uri())
        shown.locator("#curves").screenshot(path=out)
        browser.close()


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _lorakit(folder: Path, *words: str, wanted: int) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "lorakit", *words],
        cwd=folder,
        env=env,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != wanted:
        raise LorakitError(
            f"lorakit {' '.join(words)} ended with {done.returncode}, not"
            f" {wanted}:\n{done.stderr[-4000:]}"
        )


def _disturbed(
    folder: Path, words: list[str], steps: int, act: Callable[[Path], None], *, wanted: int
) -> Path:
    """Start a command; once it has made that many steps, act on its run."""
    runs, rows = (
        len(run_dirs(folder)) + (words[0] == "train"),
        _rows(folder) if words[0] == "resume" else 0,
    )
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(_lorakit, folder, *words, wanted=wanted)
        while not job.done() and (len(run_dirs(folder)) < runs or _rows(folder) < rows + steps):
            time.sleep(0.05)
        if not job.done():
            act(run_dirs(folder)[-1])
        job.result()
    return run_dirs(folder)[-1]


def _rows(folder: Path) -> int:
    """Steps that the newest run has written down."""
    path = run_dirs(folder)[-1] / "progress.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def _kill(run_dir: Path) -> None:
    os.killpg(read_record(run_dir).process.pgid, signal.SIGKILL)


def _files(run_dir: Path) -> dict[str, int | None]:
    return {path.name: inspect(path).steps for path in (run_dir / "output").glob("*.safetensors")}


def _tiny(folder: Path) -> Path:
    from tiny_bases import make_tiny

    make_tiny("sd15", folder)
    return folder


def _draw(folder: Path) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"ball, {colour} wall\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trainer", choices=("kohya", "embedded"), default="kohya")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="work here (it must not exist), and leave everything",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE.png",
        help="a screenshot of the curves (needs playwright and chromium)",
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.keep or Path(temporary) / "proof").absolute()
        folder.mkdir(parents=True)
        proof = prove(folder, args.trainer)
        show(proof)
        page = folder / "diff.html"
        _lorakit(
            folder, "diff", str(proof.peace), str(proof.resumed), "--page", str(page), wanted=0
        )
        if args.keep:
            print(page)
        if args.picture:
            picture(page, args.picture)
    return 0 if holds(proof, args.trainer) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LorakitError as error:
        sys.exit(error.message)
