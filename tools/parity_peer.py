"""The other half of parity.py: runs the real sd-scripts, in its own Python, with the step seeds it
is given, and writes down what happened.

    python parity_peer.py CHECKOUT SCRIPT CONFIG DATASET SEEDS.json OUT.safetensors

Nothing in the checkout is changed: the trainer class is extended here, in this process. Before each
step torch is seeded, so noise and timesteps are those that the embedded trainer draws from the same
seed. Written: the LoRA at the start, every step's latents, conditioning, noise target, prediction,
timesteps and loss, and the gradient of the first step.
"""

# ruff: noqa: ANN001, ANN002, ANN003, ANN201, ANN202, PLR0917 -- the shapes of these calls are
# theirs

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

CHECKOUT, SCRIPT, CONFIG, DATASET, SEEDS, OUT = sys.argv[1:]
TRAINERS = {
    "train_network": "NetworkTrainer",
    "sdxl_train_network": "SdxlNetworkTrainer",
    "flux_train_network": "FluxNetworkTrainer",
}
seeds = json.loads(Path(SEEDS).read_text(encoding="utf-8"))
tape: dict[str, torch.Tensor] = {}
step = 0

sys.path.insert(0, CHECKOUT)
sys.argv = [SCRIPT, "--config_file", CONFIG, "--dataset_config", DATASET]
module = importlib.import_module(SCRIPT)


def note(name: str, value: torch.Tensor) -> None:
    tape[name] = value.detach().float().cpu().clone().contiguous()


class Recorded(getattr(module, TRAINERS[SCRIPT])):  # type: ignore[misc]
    def get_noise_pred_and_target(
        self, args, accelerator, noise_scheduler, latents, batch, conds, *rest, **more
    ):
        network = accelerator.unwrap_model(rest[1])
        if step == 0:
            for name, value in network.state_dict().items():
                note(f"start.{name}", value)
        note(f"{step}.latents", latents)
        for place, cond in enumerate(conds):
            if cond is not None:
                note(f"{step}.told.{place}", cond)
        torch.manual_seed(seeds[step])
        predicted, target, timesteps, weighting = super().get_noise_pred_and_target(
            args, accelerator, noise_scheduler, latents, batch, conds, *rest, **more
        )
        note(f"{step}.predicted", predicted)
        note(f"{step}.target", target)
        note(f"{step}.timesteps", timesteps)
        return predicted, target, timesteps, weighting

    def load_target_model(self, *args, **more):
        loaded = super().load_target_model(*args, **more)
        listen(loaded[2])
        return loaded

    def process_batch(self, *args, **more):
        global step  # noqa: PLW0603 -- a script of one run
        loss = super().process_batch(*args, **more)
        note(f"{step}.loss", loss)
        step += 1
        return loss

    def all_reduce_network(self, accelerator, network):
        if step == 1:
            for name, value in accelerator.unwrap_model(network).named_parameters():
                if value.grad is not None:
                    note(f"gradient.{name}", value.grad)
        return super().all_reduce_network(accelerator, network)


def listen(vae) -> None:
    """What the VAE is shown, and the mean of what it answers."""
    encode = vae.encode

    def encode_and_note(pixels, *args, **more):
        answer = encode(pixels, *args, **more)
        note("vae.pixels", pixels)
        if hasattr(answer, "latent_dist"):
            note("vae.mean", answer.latent_dist.mean)
        return answer

    vae.encode = encode_and_note


class NoT5(torch.nn.Linear):
    """In the place of T5-XXL: its answers are in the cache already, and 19 GB of float32 zeros
    would only fill the memory.
    """

    dtype = torch.float32
    device = torch.device("cpu")


if SCRIPT == "flux_train_network":
    module.flux_utils.load_t5xxl = lambda *_args, **_more: NoT5(1, 1)
parser = module.setup_parser()
arguments = parser.parse_args()
module.train_util.verify_command_line_training_args(arguments)
arguments = module.train_util.read_config_from_file(arguments, parser)
Recorded().train(arguments)
save_file(tape, OUT)
