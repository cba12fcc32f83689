"""The LoRA of a run: which modules get an adapter, and under which name, as networks.lora and
networks.lora_flux choose and name them; what it starts from, and what drops out of it.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from lorakit.catalogue.options import DEFAULT_RANK
from lorakit.embedded.models.layouts import ldm_module
from lorakit.embedded.network import lycoris
from lorakit.embedded.network.lora import Adapter, Dropout, Network, Shape
from lorakit.embedded.training.task import Task
from lorakit.errors import refused
from lorakit.trainers.embedded import options

Layer = tuple[str, nn.Module, int, float | None]  # its path, itself, rank and alpha

UNET = ("Transformer2DModel",)
UNET_CONV = ("ResnetBlock2D", "Downsample2D", "Upsample2D")  # when conv_dim asks for the 3x3 ones
UNET_NAMES = ("conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2")
LYCORIS = {  # its presets: modules, single layers, and whether the 3x3 convolutions are among them
    "full": ((*UNET, *UNET_CONV), UNET_NAMES, True),
    "full-lin": ((*UNET, "ResnetBlock2D"), UNET_NAMES[2:], False),
    "attn-mlp": (UNET, (), False),
}
TEXT = ("CLIPAttention", "CLIPMLP", "T5Attention", "T5DenseGatedActDense")
FLUX = {
    "all": ("DoubleStreamBlock", "SingleStreamBlock"),
    "double": ("DoubleStreamBlock",),
    "single": ("SingleStreamBlock",),
}
FLUX_RANKS = {  # network_args that give one kind of layer a rank of its own
    "img_attn_dim": ("img_attn",),
    "txt_attn_dim": ("txt_attn",),
    "img_mlp_dim": ("img_mlp",),
    "txt_mlp_dim": ("txt_mlp",),
    "img_mod_dim": ("img_mod",),
    "txt_mod_dim": ("txt_mod",),
    "single_dim": ("single_blocks", "linear"),
    "single_mod_dim": ("modulation",),
}


def network_args(args: argparse.Namespace) -> dict[str, str]:
    return dict(argument.split("=", 1) for argument in args.network_args or [])


def plus_ratio(extra: Mapping[str, str], group: str) -> float | None:
    """LoRA+: how much faster lora_up learns in a group, where it has a rate of its own."""
    kind = "unet" if group == "unet" else "text_encoder"
    given = extra.get(f"loraplus_{kind}_lr_ratio") or extra.get("loraplus_lr_ratio")
    return float(given) if given else None


def build(task: Task, denoiser: nn.Module, encoders: Sequence[nn.Module]) -> Network:
    """`encoders`: those that learn."""
    args, world = task.args, task.world
    wanted = shapes(args, task.base.family, denoiser, encoders)
    weights: dict[str, torch.Tensor] = {}
    file = Path(args.network_weights or "")
    if args.network_weights:
        from safetensors.torch import load_file

        weights = load_file(file)
        if args.dim_from_weights:
            wanted = _from_weights(wanted, weights, file)
    extra, foreign = network_args(args), args.network_module == options.LYCORIS
    dropout = Dropout(
        float(args.network_dropout or 0),
        float(extra.get("rank_dropout", 0)),
        float(extra.get("module_dropout", 0)),
    )
    groups = {shape.group for shape in wanted}
    network = Network(
        wanted,
        dropout,
        seed=task.seed,
        device=world.device,
        dtype=world.weight_dtype if args.full_bf16 else torch.float32,
        compute=world.weight_dtype,
        make=lycoris.maker(extra) if foreign else Adapter,
        plus=frozenset(group for group in groups if plus_ratio(extra, group)),
    )
    if weights:
        if foreign:
            _refuse_other_factors(network, weights, file)
        else:
            _refuse_other_ranks(wanted, weights, file)
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
        inside = _inside(encoder, TEXT)
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
    kinds = UNET + (UNET_CONV if "conv_dim" in extra else ())
    names: tuple[str, ...] = ()
    if args.network_module == options.LYCORIS:
        kinds, names, conv = LYCORIS[extra.get("preset", "full")]
        conv_dim = int(extra.get("conv_dim", dim)) if conv else 0
        conv_alpha = float(extra.get("conv_alpha", args.network_alpha or 0))
    # LyCORIS looks for these names, and SDXL has others
    single = [(name, unet.get_submodule(name)) for name in names if not ldm_names]
    for path, module in (*_inside(unet, kinds), *single):
        name = ldm_module(path, unet.config) if ldm_names else path
        wide = isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
        rank = (conv_dim, conv_alpha) if wide else (dim, args.network_alpha)
        yield name, module, *rank


def _flux_layers(flux: nn.Module, args: argparse.Namespace) -> Iterator[Layer]:
    extra = network_args(args)
    for path, module in _inside(flux, FLUX[extra.get("train_blocks", "all")]):
        dim = args.network_dim or DEFAULT_RANK
        for key, words in FLUX_RANKS.items():
            if key in extra and all(word in path.replace(".", "_") for word in words):
                dim = int(extra[key])
                break
        yield path, module, dim, args.network_alpha


def _from_weights(
    every: Sequence[Shape], state: Mapping[str, torch.Tensor], file: Path
) -> list[Shape]:
    """`dim_from_weights`: the adapters of a file, with its ranks and alphas."""
    known = {shape.name: shape for shape in every}
    found = []
    for key, down in state.items():
        name, _, rest = key.partition(".")
        if rest != "lora_down.weight":
            continue
        if name not in known:
            raise refused(str(file), f"{name} fits no layer of this model.")
        alpha, rank = state.get(f"{name}.alpha"), down.shape[0]
        found.append(replace(known[name], dim=rank, alpha=float(rank if alpha is None else alpha)))
    return found


def _refuse_other_factors(
    network: Network, weights: Mapping[str, torch.Tensor], file: Path
) -> None:
    for key, ours in network.state_dict().items():
        its = weights.get(key)
        if its is None:
            continue
        if its.numel() != ours.numel() or (key.endswith(".alpha") and its != ours):
            said = [tuple(one.shape) or f"{float(one):g}" for one in (its, ours)]
            raise refused(str(file), f"{key} is {said[0]} there, and {said[1]} by the recipe.")


def _refuse_other_ranks(
    every: Sequence[Shape], state: Mapping[str, torch.Tensor], file: Path
) -> None:
    """Weights of another alpha would begin weaker or stronger than the file is."""
    for shape in every:
        down, alpha = state.get(f"{shape.name}.lora_down.weight"), state.get(f"{shape.name}.alpha")
        if down is None:
            continue
        its_alpha = float(down.shape[0] if alpha is None else alpha)
        if (down.shape[0], its_alpha) != (shape.dim, shape.alpha):
            its = f"rank {down.shape[0]} and alpha {its_alpha:g}"
            ours = f"rank {shape.dim} and alpha {shape.alpha:g}"
            hint = "Set dim_from_weights to take the file's."
            raise refused(str(file), f"{shape.name} has {its}, the recipe {ours}.", hint)


def _inside(root: nn.Module, kinds: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    """Every Linear and Conv2d inside a module of these kinds, by its path."""
    for outer, module in root.named_modules():
        if type(module).__name__ in kinds:
            for inner, child in module.named_modules():
                if isinstance(child, (nn.Linear, nn.Conv2d)):
                    yield f"{outer}.{inner}", child
