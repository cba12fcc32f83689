"""One training of bench_gpu.py, by one trainer's own loop, in that trainer's own Python.

    python bench_gpu_run.py JOB.json

The job names the trainer, the family, both TOML files and how many steps; the answer is written
beside it as JSON, also when the run ends early: what was measured until then counts.
"""

# ruff: noqa: ANN001, ANN003, ANN202, ARG001, SLF001 -- the shapes of these calls are
# theirs, and what is measured is inside

from __future__ import annotations

import importlib
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

JOB: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
CUDA = torch.cuda.is_available() and not JOB["on_cpu"]
TRAINERS = {
    "sd15": ("train_network", "NetworkTrainer"),
    "sdxl": ("sdxl_train_network", "SdxlNetworkTrainer"),
    "flux": ("flux_train_network", "FluxNetworkTrainer"),
}
UNSTEADY = 5  # steps in which memory, caches and recordings are made


class TimeIsUp(Exception):  # noqa: N818 -- not an error: what was measured counts
    pass


class Clock:
    """When each step was read, and what it cost the card."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.losses: list[float] = []
        self.busy: dict[str, Any] = {}
        self._profile: Any = None

    def step(self, loss: float | None) -> None:
        self.times.append(time.time())
        if loss is not None:
            self.losses.append(loss)
        if time.time() > JOB["until"]:
            raise TimeIsUp

    def profile(self, *, on: bool) -> None:
        """The kernels between on and off."""
        if not CUDA or not JOB["profile"]:
            return
        torch.cuda.synchronize()
        if on:
            kinds = [torch.profiler.ProfilerActivity.CUDA]
            self._profile = torch.profiler.profile(activities=kinds)
            self._profile.start()
        elif self._profile is not None:
            self._profile.stop()
            events = self._profile.profiler.kineto_results.events()
            took = [one.duration_ns() / 1e6 for one in events if "CUDA" in str(one.device_type())]
            self.busy = {"busy_ms": round(sum(took), 2), "kernels": len(took)}
            self._profile = None

    def answer(self) -> dict[str, Any]:
        gaps = [after - before for before, after in zip(self.times, self.times[1:], strict=False)]
        last = len(gaps) - 2 if self.busy else len(gaps)  # the profiled step is slow
        steady = gaps[UNSTEADY:last] or gaps
        step_s = statistics.median(steady) if steady else None
        first_s = self.times[0] - JOB["started"] if self.times else None
        peak = torch.cuda.max_memory_allocated() / 1e9 if CUDA else None
        return {
            "steps": len(self.times),
            "steady_steps": len(steady),
            "step_s": step_s,
            "first_s": first_s,
            "peak_gb": peak,
            "losses": self.losses[:5],
            "loss": statistics.fmean(self.losses) if self.losses else None,
            **self.busy,
        }


def random_weights(module: Any, device: str, dtype: torch.dtype) -> Any:
    """A network without memory gets small random numbers on the device: no 24 GB are read."""
    torch.manual_seed(1)
    for name, old in list(module.named_parameters()):
        if name.endswith(".bias") or old.dim() < 2:
            value = torch.full(old.shape, float(not name.endswith(".bias")))
            value = value.to(device, dtype)
        else:
            value = torch.empty(old.shape, device=device, dtype=dtype)
            value.normal_(0.0, 0.7 / math.sqrt(math.prod(old.shape[1:])))
        owner, _, leaf = name.rpartition(".")
        holder = module.get_submodule(owner)
        setattr(holder, leaf, torch.nn.Parameter(value, requires_grad=False))
    return module.eval()


def text_of(width: int, pooled: int) -> dict[str, torch.Tensor]:
    """What text encoders would have said of a caption of FLUX."""
    chance = torch.Generator().manual_seed(5)
    hidden = torch.randn(JOB["tokens"], width, generator=chance) * 0.2
    return {"hidden": hidden, "pooled": torch.randn(pooled, generator=chance)}


def ours(clock: Clock) -> int:
    from lorakit.embedded import arguments
    from lorakit.embedded.training import loop, session, step, world
    from lorakit.trainers.embedded import SCRIPTS

    words = ["--config_file", JOB["train"], "--dataset_config", JOB["dataset"]]
    args = arguments.read(SCRIPTS[JOB["family"]].name, words)
    if JOB["family"] == "flux":
        _stand_in_for_our_flux(args)
    place = world.enter(args)
    running = loop.Loop(session.prepare(args, place, JOB["family"]))
    own_note, own_take = loop.Loop._note, step.Stepper.take

    def note(self, taken, loss, norms):
        own_note(self, taken, loss, norms)
        clock.step(loss)

    def take(self, batches, pixels):
        last = self.s.position.step == JOB["steps"] - 2
        clock.profile(on=True) if last else None
        taken = own_take(self, batches, pixels)
        clock.profile(on=False) if last else None
        return taken

    loop.Loop._note, step.Stepper.take = note, take
    return running.run()


def _stand_in_for_our_flux(args) -> None:
    from lorakit.embedded.data.cache import Texts
    from lorakit.embedded.models.base import Base
    from lorakit.embedded.models.flux import Flux
    from lorakit.embedded.models.weights import on_meta
    from lorakit.embedded.training import session

    def load(self, dtype, _device):
        where = "cuda" if CUDA else "cpu"  # whatever was asked for: 24 GB are quicker on the card
        config = dict(self.denoiser.config)
        if JOB["blocks"]:
            config |= {"num_layers": JOB["blocks"], "num_single_layers": JOB["blocks"]}
        return random_weights(on_meta(lambda: Flux(config)), where, dtype)

    def opened(task):
        base = task.base
        texts = Texts(base, task.world.device, (), ())
        config = base.denoiser.config
        told = text_of(config["joint_attention_dim"], config["pooled_projection_dim"])
        for dataset in task.datasets:
            for image in dataset.images:
                texts._keys[image.caption] = "0"
        texts._store["0"] = {name: part.to(kind) for name, part in told.items()}
        return texts

    kind = torch.bfloat16 if args.mixed_precision == "bf16" else torch.float32
    Base.load_denoiser, session.open_texts = load, opened


def theirs(clock: Clock) -> int:
    name, kind = TRAINERS[JOB["family"]]
    sys.path.insert(0, JOB["checkout"])
    module = importlib.import_module(name)
    train_util = importlib.import_module("library.train_util")
    own_add = train_util.LossRecorder.add
    losses: list[float] = []

    def add(self, *, epoch, step, loss):
        losses.append(float(loss))
        return own_add(self, epoch=epoch, step=step, loss=loss)

    class Bar(module.tqdm if hasattr(module, "tqdm") else importlib.import_module("tqdm").tqdm):
        def update(self, n=1):
            answer = super().update(n)
            if self.desc == "steps" and n:
                at = len(clock.times)
                clock.profile(on=at == JOB["steps"] - 3) if at >= JOB["steps"] - 3 else None
                clock.step(losses[-1] if losses else None)
            return answer

    train_util.LossRecorder.add = add
    importlib.import_module("train_network").tqdm = Bar
    if JOB["family"] == "flux":
        _stand_in_for_their_flux(module)
    sys.argv = [name, "--config_file", JOB["train"], "--dataset_config", JOB["dataset"]]
    parser = module.setup_parser()
    args = parser.parse_args()
    train_util.verify_command_line_training_args(args)
    getattr(module, kind)().train(train_util.read_config_from_file(args, parser))
    return 0


def _stand_in_for_their_flux(module) -> None:
    import numpy as np

    models = importlib.import_module("library.flux_models")
    utils = module.flux_utils

    class NoT5(torch.nn.Linear):
        dtype, device = torch.bfloat16, torch.device("cpu")

    def load(path, _dtype, _device, **_more):
        params = models.configs["dev"].params
        if JOB["blocks"]:
            params.depth = params.depth_single_blocks = JOB["blocks"]
        with torch.device("meta"):
            model = models.Flux(params)
        random_weights(model, "cuda" if CUDA else "cpu", torch.bfloat16)
        return False, model.to(torch.float8_e4m3fn) if JOB["fp8"] else model

    def cache(_self, _args, _accelerator, _unet, _vae, _encoders, dataset, _dtype):
        told = text_of(4096, 768)
        parts = told["pooled"].numpy(), told["hidden"].numpy()
        ids, mask = np.zeros((JOB["tokens"], 3), np.float32), np.ones(JOB["tokens"], np.int64)
        for one in dataset.datasets:
            for info in one.image_data.values():
                info.text_encoder_outputs = (*parts, ids, mask)

    utils.load_flow_model, utils.load_t5xxl = load, lambda *_given, **_more: NoT5(1, 1)
    module.FluxNetworkTrainer.cache_text_encoder_outputs_if_needed = cache


def main() -> int:
    clock, said = Clock(), ""
    if JOB["on_cpu"]:
        torch.set_num_threads(1)
    try:
        code = {"ours": ours, "theirs": theirs}[JOB["who"]](clock)
    except TimeIsUp:
        code, said = 0, "stopped at its time limit"
    except BaseException as error:  # noqa: BLE001 -- whatever ends it, the answer says so
        code, said = 1, f"{type(error).__name__}: {error}"[:500]
    answer = {**clock.answer(), "code": code, "said": said, "torch": torch.__version__}
    answer["whole_s"] = time.time() - JOB["started"]
    part = Path(f"{JOB['answer']}.part")
    part.write_text(json.dumps(answer), encoding="utf-8")
    os.replace(part, JOB["answer"])
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
