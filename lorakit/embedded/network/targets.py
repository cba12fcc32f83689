"""The LoRA of a run: which modules get an adapter, and under which name, as networks.lora and
networks.lora_flux choose and name them; what it starts from, and what drops out of it.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lorakit.catalogue.options import DEFAULT_RANK
from lorakit.embedded.models.layouts import ldm_module
from lorakit.embedded.models.unet import Attention
from lorakit.embedded.network import lycoris
from lorakit.embedded.network.lora import Adapter, Dropout, Network, Shape
from lorakit.embedded.network.together import joint_product
from lorakit.embedded.training.task import Task
from lorakit.errors import refused
from lorakit.trainers.embedded import options
from lorakit.weights.sizes import CLIP, FLUX, RESIDUAL, TRANSFORMER

Layer = tuple[str, nn.Module, int, float | None]  # its path, itself, rank and alpha
Patterns = tuple[re.Pattern[str], ...]

OUTSIDE = ("conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2")
LYCORIS = {  # its presets: which layers, and whether the 3x3 convolutions are among them
    "full": ((TRANSFORMER, RESIDUAL), OUTSIDE, True),
    "full-lin": ((TRANSFORMER, RESIDUAL), OUTSIDE, False),
    "attn-mlp": ((TRANSFORMER,), (), False),
}
PARTS = ("img_attn", "txt_attn", "img_mlp", "txt_mlp", "img_mod", "txt_mod")
FLUX_RANKS = {  # network_args that give one kind of layer a rank of its own
    **{f"{part}_dim": part for part in PARTS},
    "single_dim": ".linear",
    "single_mod_dim": "modulation",
}


def network_args(args: argparse.Namespace) -> dict[str, str]:
    return dict(argument.split("=", 1) for argument in args.network_args or [])


def plus_ratio(extra: Mapping[str, str], group: str) -> float | None:
    """LoRA+: how much faster lora_up learns in a group, where it has a rate of its own."""
    kind = "unet" if group == "unet" else "text_encoder"
    given = extra.get(f"loraplus_{kind}_lr_ratio") or extra.get("loraplus_lr_ratio")
    return float(given) if given else None


def build(
    task: Task, denoiser: nn.Module, encoders: Sequence[nn.Module], *, ordered: bool
) -> Network:
    """`encoders`: those that learn; `ordered`: the flat tensors, which older states have not."""
    args, world = task.args, task.world
    wanted = shapes(args, task.base.family, denoiser, encoders)
    weights: dict[str, Tensor] = {}
    file = Path(args.network_weights or "")
    if args.network_weights:
        from safetensors.torch import load_file

        weights = load_file(file)
        downs = {key: len(weights[key]) for key in weights if key.endswith(".lora_down.weight")}
        for key, rank in downs.items():  # a file without an alpha means its rank
            weights.setdefault(f"{key.partition('.')[0]}.alpha", torch.tensor(float(rank)))
        if args.dim_from_weights:
            wanted = _from_weights(wanted, weights, file)
    extra, foreign = network_args(args), args.network_module == options.LYCORIS
    dropout = Dropout(
        float(args.network_dropout or 0),
        float(extra.get("rank_dropout", 0)),
        float(extra.get("module_dropout", 0)),
    )
    groups = {shape.group for shape in wanted}
    make = lycoris.maker(extra) if foreign else Adapter
    joined = denoiser.modules() if ordered and make is Adapter else ()
    attentions = [one for one in joined if isinstance(one, Attention)]
    network = Network(
        wanted,
        dropout,
        seed=task.seed,
        device=world.device,
        dtype=world.weight_dtype if args.full_bf16 else torch.float32,
        compute=world.weight_dtype,
        make=make,
        alike=[one.alike for one in attentions],
        plus=frozenset(group for group in groups if plus_ratio(extra, group)),
    )
    for one in attentions:
        one.together = joint_product(network, one.alike)
    if weights:
        hint = "" if foreign else "Set dim_from_weights to take the file's."
        _refuse_other_sizes(network, weights, file, hint)
        missing, unknown = (len(keys) for keys in network.load(weights))
        world.say(f"load network weights from {file}: {missing} missing, {unknown} unknown")
    return network


def shapes(
    args: argparse.Namespace, family: str, denoiser: nn.Module, encoders: Sequence[nn.Module]
) -> list[Shape]:
    """Of every adapter of a run; `encoders`: those that learn."""
    flux = family == "flux"
    dim, alpha = args.network_dim or DEFAULT_RANK, args.network_alpha
    found: list[tuple[str, str, Layer]] = []
    for number, encoder in enumerate(encoders[:1] if flux else encoders, 1):
        prefix = "lora_te" if family == "sd15" else f"lora_te{number}"
        group = "textencoder 1 " if flux else "textencoder"
        inside = _inside(encoder, CLIP)
        found += [(prefix, group, (path, module, dim, alpha)) for path, module in inside]
    if not args.network_train_text_encoder_only:
        layers = _flux_layers(denoiser, args) if flux else _unet_layers(denoiser, args, family)
        found += [("lora_unet", "unet", layer) for layer in layers]
    return [
        Shape(f"{prefix}_{path.replace('.', '_')}", module, rank, float(alpha or rank), group)
        for prefix, group, (path, module, rank, alpha) in found
        if rank
    ]


def _unet_layers(unet: nn.Module, args: argparse.Namespace, family: str) -> Iterator[Layer]:
    """SDXL's carry the names of the original layout (input_blocks_...), SD1.5's diffusers'."""
    extra, ldm_names = network_args(args), family == "sdxl"
    dim = args.network_dim or DEFAULT_RANK
    conv_dim = int(extra.get("conv_dim", 0))
    conv_alpha = float(extra.get("conv_alpha", 1.0))
    wanted: Patterns = (TRANSFORMER, RESIDUAL) if "conv_dim" in extra else (TRANSFORMER,)
    outside: tuple[str, ...] = ()
    if args.network_module == options.LYCORIS:
        wanted, outside, conv = LYCORIS[extra.get("preset", "full")]
        conv_dim = int(extra.get("conv_dim", dim)) if conv else 0
        conv_alpha = float(extra.get("conv_alpha", args.network_alpha or 0))
    # LyCORIS looks for these names, and SDXL has others
    single = [(name, unet.get_submodule(name)) for name in outside if not ldm_names]
    for path, module in (*_inside(unet, *wanted), *single):
        name = ldm_module(path, unet.config) if ldm_names else path
        wide = isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
        rank = (conv_dim, conv_alpha) if wide else (dim, args.network_alpha)
        yield name, module, *rank


def _flux_layers(flux: nn.Module, args: argparse.Namespace) -> Iterator[Layer]:
    extra = network_args(args)
    for path, module in _inside(flux, FLUX[extra.get("train_blocks", "all")]):
        dim = args.network_dim or DEFAULT_RANK
        for key, part in FLUX_RANKS.items():
            if key in extra and part in path:
                dim = int(extra[key])
        yield path, module, dim, args.network_alpha


def _from_weights(every: Sequence[Shape], state: Mapping[str, Tensor], file: Path) -> list[Shape]:
    """`dim_from_weights`: the adapters of a file, with its ranks and alphas."""
    known = {shape.name: shape for shape in every}
    found = []
    for key, down in state.items():
        name, _, rest = key.partition(".")
        if rest != "lora_down.weight":
            continue
        if name not in known:
            raise refused(str(file), f"{name} fits no layer of this model.")
        found.append(replace(known[name], dim=len(down), alpha=float(state[f"{name}.alpha"])))
    return found


def _refuse_other_sizes(
    network: Network, weights: Mapping[str, Tensor], file: Path, hint: str
) -> None:
    """Of another rank they cannot begin; of another alpha they would begin weaker or stronger."""
    for key, ours in network.state_dict().items():
        its = weights.get(key, ours)
        if its.numel() != ours.numel() or (key.endswith(".alpha") and its != ours):
            said = [tuple(one.shape) or f"{float(one):g}" for one in (its, ours)]
            raise refused(
                str(file), f"{key} is {said[0]} there, and {said[1]} by the recipe.", hint
            )


def _inside(root: nn.Module, *wanted: re.Pattern[str]) -> Iterator[tuple[str, nn.Module]]:
    """The layers that kohya's networks cover: those that the plan counts."""
    for path, module in root.named_modules():
        layer = isinstance(module, (nn.Linear, nn.Conv2d))
        if layer and any(pattern.search(f"{path}.weight") for pattern in wanted):
            yield path, module
