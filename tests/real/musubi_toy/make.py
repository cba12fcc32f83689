"""Random weights of a Z-Image and a Wan that a CPU can train, and tokenizers in a hub cache laid out
by hand. Run by musubi-tuner's own Python, with this folder and the checkout's src on PYTHONPATH.

    python make.py WEIGHTS HUB
"""

import json
import sys
from pathlib import Path

import torch
from musubi_tuner.zimage import zimage_autoencoder, zimage_config, zimage_model, zimage_utils
from safetensors.torch import save_file
from transformers import Qwen3ForCausalLM

MODEL = "models--Tongyi-MAI--Z-Image"
REVISION = "0" * 40


def filled(module, seed):
    """Like weights that somebody has trained: small, and none of them zero."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(value.shape, generator=generator) * 0.04 + (value.dim() == 1) * 0.5)
        .to(torch.bfloat16)
        .contiguous()
        for name, value in module.state_dict().items()
    }


def tokenizer(hub):
    snapshot = hub / MODEL / "snapshots" / REVISION / "tokenizer"
    snapshot.mkdir(parents=True)
    (hub / MODEL / "refs").mkdir()
    (hub / MODEL / "refs" / "main").write_text(REVISION)
    from transformers.models.qwen2.tokenization_qwen2 import bytes_to_unicode

    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *bytes_to_unicode().values()]
    (snapshot / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (snapshot / "merges.txt").write_text("#version: 0.2\n")
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>"
        "{% endfor %}"
    )
    config = {"tokenizer_class": "Qwen2Tokenizer", "chat_template": template}
    (snapshot / "tokenizer_config.json").write_text(json.dumps(config))


def wan(weights, hub):
    from musubi_tuner.wan.configs import WAN_CONFIGS
    from musubi_tuner.wan.modules import model, t5, vae
    from tokenizers import Tokenizer, models, pre_tokenizers

    sizes = ("dim", "ffn_dim", "freq_dim", "in_dim", "num_heads", "num_layers", "out_dim", "text_len")  # fmt: skip
    made = {
        f"{name}_{expert}": model.WanModel(
            model_type=kind,
            model_version="2.2",
            **{key: WAN_CONFIGS[f"{kind}-A14B"][key] for key in sizes},
        )
        for name, kind in (("wan", "t2v"), ("wan_i2v", "i2v"))
        for expert in ("high", "low")
    }
    made["wan_t5"] = t5.umt5_xxl(encoder_only=True, return_tokenizer=False)
    made["wan_vae"] = vae.WanVAE_(16, 16, [1, 2, 4, 4], 2, [], [False, True, True])
    for number, (name, module) in enumerate(made.items(), start=4):
        whole = {key: value.float() for key, value in filled(module, number).items()}
        save_file(whole, weights / f"{name}.safetensors")
    snapshot = hub / "models--Wan-AI--Wan2.1-T2V-14B" / "snapshots" / REVISION
    (snapshot / "google" / "umt5-xxl").mkdir(parents=True)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text(REVISION)
    letters = {letter: number for number, letter in enumerate(["<pad>", "</s>", "<unk>", *map(chr, range(32, 127))])}  # fmt: skip
    words = Tokenizer(models.WordLevel(letters, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    words.save(str(snapshot / "google" / "umt5-xxl" / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}  # fmt: skip
    (snapshot / "google" / "umt5-xxl" / "tokenizer_config.json").write_text(json.dumps(config))


def main(weights, hub):
    weights.mkdir(parents=True, exist_ok=True)
    save_file(
        filled(zimage_model.create_model("torch", False, None), 1), weights / "base.safetensors"
    )
    config = zimage_utils.Qwen3Config(vocab_size=300, tie_word_embeddings=True)
    text = filled(Qwen3ForCausalLM(config), 2)
    text.pop("lm_head.weight", None)
    save_file(text, weights / "text_encoder.safetensors")
    made = []
    load = zimage_autoencoder.load_safetensors

    def random_vae(_path, **_options):
        module = next(one for one in made)
        return filled(module, 3)

    real = zimage_autoencoder.AutoencoderKL

    def remembered(**options):
        made.append(real(**options))
        return made[-1]

    zimage_autoencoder.load_safetensors, zimage_autoencoder.AutoencoderKL = random_vae, remembered
    vae = zimage_autoencoder.load_autoencoder_kl("", "cpu")
    zimage_autoencoder.load_safetensors = load
    half = {name: value.to(torch.bfloat16) for name, value in vae.state_dict().items()}
    save_file(half, weights / "vae.safetensors")
    tokenizer(hub)
    wan(weights, hub)
    print("made", zimage_config.DEFAULT_TRANSFORMER_DIM)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
