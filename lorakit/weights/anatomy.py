"""Names and shapes of the weights of SD1.5, SDXL and FLUX, by rule, as their checkpoints have them:
stand-ins are made of them, and the size of a LoRA is counted from them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

LAYERS = 2  # blocks of each level of a U-Net on the way down; one more on the way up
Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]


def linear(name: str, out: int, given: int, *, bias: bool = True) -> Named:
    yield f"{name}.weight", (out, given)
    if bias:
        yield f"{name}.bias", (out,)


def conv(name: str, out: int, given: int, size: int = 3) -> Named:
    yield f"{name}.weight", (out, given, size, size)
    yield f"{name}.bias", (out,)


def norm(name: str, width: int) -> Named:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


@dataclass(frozen=True)
class UNetKind:
    channels: tuple[int, ...]
    depths: tuple[int, ...]  # transformer blocks in each attention of that level; 0: none
    middle: int
    context: int  # width of the text that cross-attention reads
    linear_projection: bool = False
    label: int = 0

    @property
    def time(self) -> int:
        return 4 * self.channels[0]


SD15 = UNetKind((320, 640, 1280, 1280), (1, 1, 1, 0), 1, 768)
SDXL = UNetKind((320, 640, 1280), (0, 2, 10), 10, 2048, linear_projection=True, label=2816)


def unet(kind: UNetKind) -> Named:
    """The down path, the middle and the up path, numbered as the original code numbers them."""
    first, time = kind.channels[0], kind.time
    yield from linear("time_embed.0", time, first)
    yield from linear("time_embed.2", time, time)
    if kind.label:
        yield from linear("label_emb.0.0", time, kind.label)
        yield from linear("label_emb.0.2", time, time)
    yield from conv("input_blocks.0.0", first, 4)
    skips, width, number = [first], first, 1
    for level, (out, depth) in enumerate(zip(kind.channels, kind.depths, strict=True)):
        for _ in range(LAYERS):
            yield from res_block(f"input_blocks.{number}.0", out, width, time)
            yield from transformer(f"input_blocks.{number}.1", out, depth, kind)
            skips.append(out)
            width, number = out, number + 1
        if level < len(kind.depths) - 1:
            yield from conv(f"input_blocks.{number}.0.op", width, width)
            skips.append(width)
            number += 1
    yield from res_block("middle_block.0", width, width, time)
    yield from transformer("middle_block.1", width, kind.middle, kind)
    yield from res_block("middle_block.2", width, width, time)
    yield from up_path(kind, skips, width)
    yield from norm("out.0", first)
    yield from conv("out.2", 4, first)


def up_path(kind: UNetKind, skips: list[int], width: int) -> Named:
    number = 0
    for level, out in reversed(list(enumerate(kind.channels))):
        depth = kind.depths[level]
        for turn in range(LAYERS + 1):
            yield from res_block(f"output_blocks.{number}.0", out, width + skips.pop(), kind.time)
            yield from transformer(f"output_blocks.{number}.1", out, depth, kind)
            if level and turn == LAYERS:
                yield from conv(f"output_blocks.{number}.{2 if depth else 1}.conv", out, out)
            width, number = out, number + 1


def res_block(name: str, out: int, given: int, time: int) -> Named:
    yield from norm(f"{name}.in_layers.0", given)
    yield from conv(f"{name}.in_layers.2", out, given)
    yield from linear(f"{name}.emb_layers.1", out, time)
    yield from norm(f"{name}.out_layers.0", out)
    yield from conv(f"{name}.out_layers.3", out, out)
    if out != given:
        yield from conv(f"{name}.skip_connection", out, given, 1)


def transformer(name: str, width: int, depth: int, kind: UNetKind) -> Named:
    if not depth:
        return
    project = linear if kind.linear_projection else partial(conv, size=1)
    yield from norm(f"{name}.norm", width)
    yield from project(f"{name}.proj_in", width, width)
    for block in range(depth):
        base = f"{name}.transformer_blocks.{block}"
        for attention, context in (("attn1", width), ("attn2", kind.context)):
            yield from linear(f"{base}.{attention}.to_q", width, width, bias=False)
            yield from linear(f"{base}.{attention}.to_k", width, context, bias=False)
            yield from linear(f"{base}.{attention}.to_v", width, context, bias=False)
            yield from linear(f"{base}.{attention}.to_out.0", width, width)
        yield from linear(f"{base}.ff.net.0.proj", 8 * width, width)
        yield from linear(f"{base}.ff.net.2", width, 4 * width)
        for number in (1, 2, 3):
            yield from norm(f"{base}.norm{number}", width)
    yield from project(f"{name}.proj_out", width, width)


def autoencoder(channels: int, *, quantised: bool) -> Named:
    """SD's and FLUX's: they differ in the latent's channels and the 1x1 convolutions around it."""
    widths = (128, 256, 512, 512)
    yield from conv("encoder.conv_in", 128, 3)
    given = 128
    for level, out in enumerate(widths):
        for block in range(2):
            yield from vae_block(f"encoder.down.{level}.block.{block}", out, given)
            given = out
        if level < 3:
            yield from conv(f"encoder.down.{level}.downsample.conv", out, out)
    yield from vae_middle("encoder.mid", 512)
    yield from norm("encoder.norm_out", 512)
    yield from conv("encoder.conv_out", 2 * channels, 512)
    yield from conv("decoder.conv_in", 512, channels)
    yield from vae_middle("decoder.mid", 512)
    for level in (3, 2, 1, 0):
        for block in range(3):
            yield from vae_block(f"decoder.up.{level}.block.{block}", widths[level], given)
            given = widths[level]
        if level:
            yield from conv(f"decoder.up.{level}.upsample.conv", given, given)
    yield from norm("decoder.norm_out", 128)
    yield from conv("decoder.conv_out", 3, 128)
    if quantised:
        yield from conv("quant_conv", 2 * channels, 2 * channels, 1)
        yield from conv("post_quant_conv", channels, channels, 1)


def vae_block(name: str, out: int, given: int) -> Named:
    yield from norm(f"{name}.norm1", given)
    yield from conv(f"{name}.conv1", out, given)
    yield from norm(f"{name}.norm2", out)
    yield from conv(f"{name}.conv2", out, out)
    if out != given:
        yield from conv(f"{name}.nin_shortcut", out, given, 1)


def vae_middle(name: str, width: int) -> Named:
    yield from vae_block(f"{name}.block_1", width, width)
    yield from norm(f"{name}.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        yield from conv(f"{name}.attn_1.{part}", width, width, 1)
    yield from vae_block(f"{name}.block_2", width, width)


def clip(width: int = 768, layers: int = 12, inner: int = 3072) -> Named:
    """A CLIP text encoder, OpenAI's CLIP-L by default, as transformers names it."""
    yield "text_model.embeddings.token_embedding.weight", (49408, width)
    yield "text_model.embeddings.position_embedding.weight", (77, width)
    for layer in range(layers):
        base = f"text_model.encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from linear(f"{base}.self_attn.{part}", width, width)
        yield from norm(f"{base}.layer_norm1", width)
        yield from linear(f"{base}.mlp.fc1", inner, width)
        yield from linear(f"{base}.mlp.fc2", width, inner)
        yield from norm(f"{base}.layer_norm2", width)
    yield from norm("text_model.final_layer_norm", width)


def clip_g() -> Named:
    """OpenCLIP's bigG text encoder, as SDXL checkpoints name it."""
    width = 1280
    yield "logit_scale", ()
    yield "positional_embedding", (77, width)
    yield "text_projection", (width, width)
    yield "token_embedding.weight", (49408, width)
    yield from norm("ln_final", width)
    for layer in range(32):
        base = f"transformer.resblocks.{layer}"
        yield f"{base}.attn.in_proj_weight", (3 * width, width)
        yield f"{base}.attn.in_proj_bias", (3 * width,)
        yield from linear(f"{base}.attn.out_proj", width, width)
        yield from norm(f"{base}.ln_1", width)
        yield from norm(f"{base}.ln_2", width)
        yield from linear(f"{base}.mlp.c_fc", 4 * width, width)
        yield from linear(f"{base}.mlp.c_proj", width, 4 * width)


def flux(double: int = 19, single: int = 38) -> Named:
    width, head = 3072, 128
    yield from linear("img_in", width, 64)
    yield from linear("txt_in", width, 4096)
    for name, given in (("time_in", 256), ("vector_in", 768), ("guidance_in", 256)):
        yield from linear(f"{name}.in_layer", width, given)
        yield from linear(f"{name}.out_layer", width, width)
    for base in (f"double_blocks.{n}.{stream}" for n in range(double) for stream in ("img", "txt")):
        yield from linear(f"{base}_mod.lin", 6 * width, width)
        yield from linear(f"{base}_attn.qkv", 3 * width, width)
        yield f"{base}_attn.norm.query_norm.scale", (head,)
        yield f"{base}_attn.norm.key_norm.scale", (head,)
        yield from linear(f"{base}_attn.proj", width, width)
        yield from linear(f"{base}_mlp.0", 4 * width, width)
        yield from linear(f"{base}_mlp.2", width, 4 * width)
    for base in (f"single_blocks.{n}" for n in range(single)):
        yield from linear(f"{base}.modulation.lin", 3 * width, width)
        yield from linear(f"{base}.linear1", 7 * width, width)
        yield from linear(f"{base}.linear2", width, 5 * width)
        yield f"{base}.norm.query_norm.scale", (head,)
        yield f"{base}.norm.key_norm.scale", (head,)
    yield from linear("final_layer.linear", 64, width)
    yield from linear("final_layer.adaLN_modulation.1", 2 * width, width)


def t5xxl() -> Named:
    width, inner = 4096, 10240
    yield "shared.weight", (32128, width)
    for block in range(24):
        base = f"encoder.block.{block}"
        for part in ("q", "k", "v", "o"):
            yield f"{base}.layer.0.SelfAttention.{part}.weight", (width, width)
        if not block:
            yield f"{base}.layer.0.SelfAttention.relative_attention_bias.weight", (32, 64)
        yield f"{base}.layer.0.layer_norm.weight", (width,)
        yield f"{base}.layer.1.DenseReluDense.wi_0.weight", (inner, width)
        yield f"{base}.layer.1.DenseReluDense.wi_1.weight", (inner, width)
        yield f"{base}.layer.1.DenseReluDense.wo.weight", (width, inner)
        yield f"{base}.layer.1.layer_norm.weight", (width,)
    yield "encoder.final_layer_norm.weight", (width,)


def under(prefix: str, tensors: Named) -> Named:
    return ((prefix + name, shape) for name, shape in tensors)


def sd15_checkpoint() -> dict[str, Shape]:
    return {
        **dict(under("model.diffusion_model.", unet(SD15))),
        **dict(under("first_stage_model.", autoencoder(4, quantised=True))),
        **dict(under("cond_stage_model.transformer.", clip())),
    }


def sdxl_checkpoint() -> dict[str, Shape]:
    return {
        **dict(under("model.diffusion_model.", unet(SDXL))),
        **dict(under("first_stage_model.", autoencoder(4, quantised=True))),
        **dict(under("conditioner.embedders.0.transformer.", clip())),
        **dict(under("conditioner.embedders.1.model.", clip_g())),
    }
