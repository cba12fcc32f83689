"""Is it the same mathematics? The real sd-scripts and the embedded trainer on the same weights,
latents, noise and timesteps.

    python tools/parity.py [--case plain] [--steps 4] [--base model.safetensors] [--keep FOLDER]

Both run their own training loop, from their own reading of the same TOML files to their own LoRA
file; sd-scripts runs in its own Python (tools/parity_peer.py). Shared are the LoRA's first weights,
the seed before each step, the latents (both draw them from the VAE's distribution, each in its own
order), and SDXL's pooled text (docs/side-by-side.md says why). Compared are the losses, the
gradients of the first step, and the files. CPU, float32; `sdxl` needs 22 GB and nothing beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from parity_cases import CASES, Case, text_outputs, write_inputs
from safetensors import safe_open
from safetensors.torch import load_file

from lorakit import proc
from lorakit.embedded import arguments
from lorakit.embedded.models import Conditioning
from lorakit.embedded.network import lycoris
from lorakit.embedded.training import signals
from lorakit.embedded.training.loop import Loop
from lorakit.embedded.training.objective import Inputs
from lorakit.embedded.training.session import Session, prepare
from lorakit.embedded.training.world import enter
from lorakit.rehearse import standin
from lorakit.trainers.kohya.locate import require

SCRIPTS = {"sd15": "train_network", "sdxl": "sdxl_train_network", "flux": "flux_train_network"}


@dataclass(frozen=True)
class Result:
    """What was compared: relative differences, 0 is equal."""

    losses: tuple[tuple[float, float], ...]
    pixels: float  # of the same file, cut to its bucket
    latents: float  # the VAE's mean of the same pixels
    gradient: float
    change: float  # of the LoRA's weights between start and end, ours against theirs
    product: float  # of up x down, the matrices that are added to the model
    keys_equal: bool  # names, shapes, types and alphas of the two files
    metadata_missing: tuple[str, ...]

    def faults(self) -> list[str]:
        wrong = [
            f"step {i}: loss {ours:.6f} against {theirs:.6f}"
            for i, (ours, theirs) in enumerate(self.losses)
            if abs(ours / theirs - 1) > (2e-3 if i else 1e-5)
        ]
        bounds = (
            ("what is read of the picture", self.pixels, 2e-3),
            ("the VAE's mean", self.latents, 1e-3),
            ("gradient", self.gradient, 1e-3),
            ("product", self.product, 2e-2),
        )
        wrong += [f"{name} differs by {far:.2e}" for name, far, most in bounds if far > most]
        return wrong + ([] if self.keys_equal else ["keys, shapes, types or alphas differ"])


def run(name: str, folder: Path, *, steps: int, weights: Mapping[str, Path]) -> Result:
    case = CASES[name]
    files = write_inputs(case, folder, steps, weights)
    seeds = [1000 + place for place in range(steps)]
    (folder / "seeds.json").write_text(json.dumps(seeds), encoding="utf-8")
    tape = peer(case, folder, files)
    ours = play(case, files, tape, seeds)
    return compare(ours, tape, folder)


def peer(case: Case, folder: Path, files: Mapping[str, Path]) -> dict[str, torch.Tensor]:
    place = require()
    if case.family == "flux":
        text_outputs(folder / "images", masked=bool(case.options.get("apply_t5_attn_mask")))
    argv = [
        str(place.python),
        str(Path(__file__).with_name("parity_peer.py")),
        str(place.directory),
        SCRIPTS[case.family],
        str(files["theirs"]),
        str(files["dataset"]),
        str(folder / "seeds.json"),
        str(folder / "tape.safetensors"),
    ]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    answer = proc.ask(argv, cwd=folder, timeout_s=3000, env=environment)
    (folder / "peer.log").write_text(answer.out + answer.err, encoding="utf-8")
    if answer.code or not (folder / "tape.safetensors").is_file():
        raise SystemExit(
            f"sd-scripts failed ({answer.code}); see {folder / 'peer.log'}\n" + answer.err[-2000:]
        )
    return load_file(folder / "tape.safetensors")


def play(
    case: Case, files: Mapping[str, Path], tape: Mapping[str, torch.Tensor], seeds: list[int]
) -> dict[str, Any]:
    """Our own run of the same recipe, with the tape's start and latents."""
    args = arguments.read(
        f"{SCRIPTS[case.family]}.py",
        ["--config_file", str(files["ours"]), "--dataset_config", str(files["dataset"])],
    )
    place = enter(args)
    signals.exit_at_once()
    session = prepare(args, place, case.family)
    missing, unknown = session.network.load(_under("start.", tape))
    found: dict[str, Any] = {"missing": missing, "unknown": unknown, "losses": []}
    _inject(session, tape, seeds, found)
    Loop(session).run()
    return {**found, "latents": _encoded(session, tape)}


def _encoded(session: Session, tape: Mapping[str, torch.Tensor]) -> float:
    """How far our VAE's mean of the same pixels is from theirs; FLUX's autoencoder gives no mean,
    there it is not compared.
    """
    if "vae.mean" not in tape:
        return 0.0
    vae = session.base.load_vae(torch.float32, "cpu")
    with torch.no_grad():
        return relative([(vae.encode(tape["vae.pixels"]).mean, tape["vae.mean"])])


def _inject(
    session: Session, tape: Mapping[str, torch.Tensor], seeds: list[int], found: dict[str, Any]
) -> None:
    objective = session.objective
    own_draw, own_loss_of = objective.draw, objective.loss_of
    step = {"now": 0}

    def latents(batch: Any, seed: int, _pixels: Any = None) -> torch.Tensor:
        if not step["now"]:
            read = torch.stack(session.latents.pixels_of(batch, seed))
            found["pixels"] = relative([(read, tape["vae.pixels"])])
        torch.manual_seed(seeds[step["now"]])  # what comes after this draws noise and timesteps
        return tape[f"{step['now']}.latents"]

    def draw(batch: Any, _seed: int, **more: Any) -> Inputs:
        return own_draw(batch, seeds[step["now"]], **more)

    def loss_of(inputs: Inputs, **more: Any) -> torch.Tensor:
        value = own_loss_of(inputs, **more)
        found["losses"].append(float(value.detach()))
        step["now"] += 1
        return value

    def gradients() -> list[torch.Tensor]:
        # the gradients are emptied by the same door before a step
        if step["now"] == 1 and "gradient" not in found:
            named = session.network.named()
            found["gradient"] = {
                key: one.grad.clone() for key, one in named.items() if one.grad is not None
            }
        return own_gradients()

    own_gradients = session.network.gradients
    objective.latents.of = latents  # type: ignore[method-assign,assignment]
    objective.draw = draw  # type: ignore[method-assign,assignment]
    objective.loss_of = loss_of  # type: ignore[method-assign]
    session.network.gradients = gradients  # type: ignore[method-assign]
    if "0.told.3" in tape or session.base.family == "flux":
        masked = session.args.apply_t5_attn_mask
        seen = slice(64 if masked else None)  # 20 of 128 are, and their piece is kept (Texts.kept)
        mask = tape["0.told.3"].long()[:, seen] if masked else None
        told = Conditioning(tape["0.told.1"][:, seen], tape["0.told.0"], mask)
        session.texts.of = lambda _captions: told
    if session.base.family == "sdxl":  # theirs reads the projection of a single file untransposed
        pooled, own_of = tape["0.told.2"], session.texts.of
        session.texts.of = lambda captions: replace(own_of(captions), pooled=pooled)


def compare(ours: Mapping[str, Any], tape: Mapping[str, torch.Tensor], folder: Path) -> Result:
    files = [folder / who / "lora.safetensors" for who in ("ours", "theirs")]
    mine, other = (load_file(file) for file in files)
    same = set(mine) == set(other) and all(
        mine[key].shape == value.shape
        and mine[key].dtype == value.dtype
        and (torch.equal(mine[key], value) or not key.endswith(".alpha"))
        for key, value in other.items()
    )
    start = _under("start.", tape)
    change = product = float("nan")
    if same:
        weights = [key for key in other if not key.endswith(".alpha")]
        change = relative((mine[key] - start[key], other[key] - start[key]) for key in weights)
        names = {key.partition(".")[0] for key in weights}
        product = relative((_added(mine, name), _added(other, name)) for name in names)
    gradients = _under("gradient.", tape).items()
    return Result(
        tuple((value, float(tape[f"{place}.loss"])) for place, value in enumerate(ours["losses"])),
        ours["pixels"],
        ours["latents"],
        relative((ours["gradient"][name], value) for name, value in gradients),
        change,
        product,
        same and not ours["missing"] and not ours["unknown"],
        tuple(sorted(set(_metadata(files[1])) - set(_metadata(files[0])))),
    )


def _under(prefix: str, tape: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The part of the tape whose names begin so, without it."""
    return {name[len(prefix) :]: value for name, value in tape.items() if name.startswith(prefix)}


def relative(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """One pair at a time: the products of a full-size model's adapters would be 20 GB together."""
    apart = size = 0.0
    for ours, theirs in pairs:
        apart += float((ours.double() - theirs.double()).square().sum())
        size += float(theirs.double().square().sum())
    return (apart / size) ** 0.5


def _added(state: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """What an adapter adds to its layer, before it is scaled."""
    return lycoris.rebuilt(_under(f"{name}.", state))


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--base", type=Path, help="an SD1.5 checkpoint instead of the stand-in")
    parser.add_argument("--keep", type=Path, help="leave files and logs there")
    options = parser.parse_args()
    names = options.case or ["plain"]
    if len(names) > 1:  # a process each: a full-size model must be gone before the next comes
        given = {"--steps": options.steps, "--base": options.base, "--keep": options.keep}
        shared = [word for key, value in given.items() if value for word in (key, str(value))]
        answers = [
            proc.ask([sys.executable, __file__, "--case", name, *shared], timeout_s=6000)
            for name in names
        ]
        for answer in answers:
            print(answer.out + (answer.err[-2000:] if answer.code else ""), end="")
        return max(answer.code for answer in answers)
    name = names[0]
    weights = {"base": options.base} if options.base else standin.weights(CASES[name].family, print)
    with tempfile.TemporaryDirectory() as spare:
        folder = (options.keep or Path(spare)) / name
        result = run(name, folder, steps=options.steps, weights=weights)
    show(name, result)
    return 1 if result.faults() else 0


def show(name: str, result: Result) -> None:
    print(f"\n{name}: losses (ours / theirs)")
    for ours, theirs in result.losses:
        print(f"  {ours:.6f}  {theirs:.6f}  {abs(ours / theirs - 1):.1e}")
    print(
        f"  pixels {result.pixels:.1e}, VAE {result.latents:.1e}, gradient of the first step"
        f" {result.gradient:.1e}, change of the weights {result.change:.1e}, up x down"
        f" {result.product:.1e}"
    )
    print(
        f"  keys, shapes, types, alphas {'equal' if result.keys_equal else 'DIFFERENT'}; "
        f"metadata keys that ours lacks: {', '.join(result.metadata_missing) or 'none'}"
    )
    for fault in result.faults():
        print(f"  DIFFERS: {fault}")


if __name__ == "__main__":
    raise SystemExit(main())
