"""Random weights of a Z-Image that a CPU can train, and a tokenizer of bytes in a hub cache laid
out by hand. Run by musubi-tuner's own Python, with this folder and the checkout's src on PYTHONPATH.

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
    print("made", zimage_config.DEFAULT_TRANSFORMER_DIM)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
