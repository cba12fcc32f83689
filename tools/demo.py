"""What `make demo` runs: draw a new character, train it into the toy base on the CPU, show the
sheet, and measure what was learned.

    python tools/demo.py                in the project's folder; a few minutes on two cores
    python tools/demo.py --project DIR  in another one that has recipes/demo.toml and recipes/demo/

Nothing that exists is overwritten: pictures that are there stay, every run gets a folder of its
own.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "toy"))

from draw import CHARACTER_BACKGROUNDS, Scene, Thing, any_scene, character_scene, draw  # noqa: E402  (the path is set first)

RECIPE = "recipes/demo.toml"
PICTURES = 18
# where the seeds of the regularisation pictures begin: none that the base or the judge has seen
KEPT = 8_000_000
WITH_TRIGGER = tuple(
    Scene(ground, (Thing("zwx", "", size, place),))
    for ground, size, place in (
        ("sea", "", ""),
        ("black", "", ""),
        ("white", "", "left"),
        ("blue", "", "right"),
        ("night", "big", ""),
        ("meadow", "", ""),
        ("green", "", "left"),
        ("yellow", "", ""),
    )
)
OTHERS = tuple(
    scene
    for scene in map(any_scene, range(7_000_000, 7_000_060))
    if len(scene.things) == 1 and not scene.outlined
)[:24]


@dataclass(frozen=True)
class Score:
    """Of pictures of one kind of prompt: how many show the character, and how much of the prompt
    they obey.
    """

    character: float
    obeyed: float


def draw_dataset(root: Path) -> int:
    """8_zwx: the character in varied scenes; captions say the scene, never the look. 1_other: what
    must stay as it is.
    """
    ours, others = root / "demo" / "8_zwx", root / "demo-reg" / "1_other"
    wanted = [
        (ours / f"zwx_{seed:02d}", character_scene(seed, CHARACTER_BACKGROUNDS), seed)
        for seed in range(PICTURES)
    ]
    wanted += [
        (others / f"other_{seed:02d}", any_scene(seed), seed)
        for seed in range(KEPT, KEPT + 4 * PICTURES)
    ]
    drawn = 0
    for stem, scene, seed in wanted:
        picture, caption = stem.with_suffix(".png"), stem.with_suffix(".txt")
        picture.parent.mkdir(parents=True, exist_ok=True)
        if not picture.exists():
            draw(scene, seed=seed).save(picture)
            drawn += 1
        if not caption.exists():
            caption.write_text(scene.caption + "\n", encoding="utf-8")
    return drawn


def command() -> str:
    """How lorakit is called here: by name, or from the environment that runs this script."""
    beside = Path(sys.executable).parent / "lorakit"
    if shutil.which("lorakit"):
        return "lorakit"
    return os.path.relpath(beside) if beside.exists() else "python -m lorakit"


def lorakit(project: Path, *words: str, quiet: bool = False) -> str:
    """One command of lorakit, shown as you would type it; quiet: its output is returned, not
    shown.
    """
    if not quiet:
        print(f"\n$ {command()} {shlex.join(words)}", flush=True)
    paths = os.pathsep.join(
        path for path in (str(HERE.parent), os.environ.get("PYTHONPATH", "")) if path
    )
    child = subprocess.Popen(
        [sys.executable, "-m", "lorakit", *words],
        cwd=project,
        text=True,
        stdout=subprocess.PIPE if quiet else None,
        env={**os.environ, "PYTHONPATH": paths},
    )
    said = None
    while child.returncode is None:
        try:
            said, _ = child.communicate()
        except KeyboardInterrupt:  # lorakit heard it, too, and saves: it must not be killed
            continue
    if child.returncode:
        sys.exit(child.returncode)
    return said or ""


def newest_run(project: Path) -> Path:
    return max((project / "runs" / "demo").iterdir(), key=lambda path: path.stat().st_mtime)


def score(project: Path, run_dir: Path) -> dict[str, dict[str, Score]]:
    """Base and LoRA, prompts with the trigger and without: the judge looks at two pictures of each
    prompt.
    """
    from PIL import Image
    from recognise import judged, load_judge, obeyed

    judge = load_judge(project / "recipes" / "demo" / "judge.safetensors")
    scores: dict[str, dict[str, Score]] = {"base": {}, "LoRA": {}}
    for kind, scenes in (("trigger", WITH_TRIGGER), ("others", OTHERS)):
        words = ["--checkpoints", "last", "--strengths", "1.0", "--seeds", "2", "--json"]
        words += ["--out", str(run_dir / f"scored-{kind}.png"), "--prompts"]
        captions = (scene.caption for scene in scenes)
        answer = lorakit(project, "sheet", str(run_dir), *words, *captions, quiet=True)
        asked = {scene.caption: scene for scene in scenes}
        cells = json.loads(answer)["cells"]
        for who, of in scores.items():
            mine = [cell for cell in cells if (cell["lora"] is None) == (who == "base")]
            seen = [
                (verdict, asked[cell["prompt"]])
                for cell in mine
                for verdict in judged(judge, [Image.open(path) for path in cell["pictures"]])
            ]
            of[kind] = Score(
                sum(verdict.character for verdict, _ in seen) / len(seen),
                sum(obeyed(*one) for one in seen) / len(seen),
            )
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--project",
        type=Path,
        default=HERE.parent,
        help="the folder with recipes/ (default: this project)",
    )
    parser.add_argument("--json", type=Path, help="also write the scores here")
    args = parser.parse_args()
    project: Path = args.project.resolve()
    datasets = project / "datasets"
    print(
        f"{draw_dataset(datasets)} pictures drawn into {datasets}: zwx, in colours the toy base has"
        " never seen, and others."
    )
    lorakit(project, "plan", RECIPE)
    started = time.monotonic()
    lorakit(project, "train", RECIPE)
    trained_s = time.monotonic() - started
    run_dir = newest_run(project)
    lorakit(project, "sheet", str(run_dir), "--strengths", "0.6,1.0", "--seeds", "2")
    print(
        "\nMeasuring: prompts with new noise; two of their backgrounds the training never saw.",
        flush=True,
    )
    scores = score(project, run_dir)

    def shown(kind: str, what: str) -> str:
        before, after = (getattr(scores[who][kind], what) for who in ("base", "LoRA"))
        return f"{before:4.0%} before   {after:4.0%} after"

    print(f"""
Judged by a small network trained on drawings alone (tools/toy/recognise.py):
  is it the character, asked for zwx        {shown("trigger", "character")}
  figure, colour, background as prompted    {shown("others", "obeyed")}
  the character where nobody asked for it   {shown("others", "character")}

Trained in {trained_s:.0f} s. Where everything is:
  pictures and captions   {datasets / "demo" / "8_zwx"}
  the run                 {run_dir}
  the LoRA                {run_dir / "output" / "demo.safetensors"}
  the sheet               {run_dir / "sheet.png"}

What to type next:
  {command()} sheet demo --checkpoints last --prompts "zwx and a purple star, night" --seeds 4
  {command()} train {RECIPE} --set network_dim=4
  {command()} diff {run_dir.parent.name}/{run_dir.name} latest
  {command()} new mina --preset sdxl --trigger mina_char
""")
    if args.json:
        args.json.write_text(json.dumps(scores, default=vars, indent=2))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)
