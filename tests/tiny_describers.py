"""Florence-2, BLIP, LLaVA, CLIP, SigLIP and DINOv2 as their authors built them, a thousandth as large,
with random weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = [
    "a",
    "fox",
    "in",
    "the",
    "snow",
    "with",
    "long",
    "hair",
    "and",
    "blue",
    "eyes",
    "standing",
    "under",
    "soft",
    "light",
]
SIDE = 64


def write_describer(folder: Path, kind: str) -> Path:
    """A model folder as the hub has it: config, weights, processor, words."""
    folder.mkdir(parents=True)
    kinds = {"blip": _blip, "florence2": _florence2, "llava": _llava}
    kinds |= {"clip": _contrastive, "siglip": _contrastive, "dinov2": _dinov2}
    kinds[kind](folder)
    return folder


def _contrastive(folder: Path) -> None:
    """CLIP or SigLIP, by the folder's name."""
    import torch
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
    )

    torch.manual_seed(3)
    tokenizer = _bart()
    layers = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    layers |= {"intermediate_size": 16}
    text = {**layers, "vocab_size": len(tokenizer), "max_position_embeddings": 16}
    text |= {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    vision = {**layers, "image_size": SIDE, "patch_size": 16}
    size = {"height": SIDE, "width": SIDE}
    if folder.name == "clip":
        config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
        CLIPModel(config).save_pretrained(folder)
        CLIPImageProcessor(size=size, do_center_crop=False).save_pretrained(folder)
    else:
        SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
        SiglipImageProcessor(size=size).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _dinov2(folder: Path) -> None:
    import torch
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(4)
    layers = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**layers, image_size=SIDE, patch_size=16)).save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    BitImageProcessor(size=size, do_center_crop=False).save_pretrained(folder)


def _blip(folder: Path) -> None:
    import torch
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    layers = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**layers, "vocab_size": len(words), "intermediate_size": 16, "encoder_hidden_size": 16}
    text |= {"bos_token_id": 5, "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3}
    vision = {**layers, "intermediate_size": 16, "image_size": SIDE, "patch_size": 16}
    config = BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=16)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    BlipProcessor(BlipImageProcessor(size=size), tokenizer).save_pretrained(folder)


def _florence2(folder: Path) -> None:
    import torch
    from transformers import (
        CLIPImageProcessor,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
    )

    torch.manual_seed(1)
    tokenizer = _bart()
    layers = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, "encoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 16}
    ends = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    text = {"model_type": "bart", "vocab_size": len(tokenizer), **layers, **heads, **ends}
    text |= {"max_position_embeddings": 512}
    vision = {
        "depths": (1, 1, 1, 1),
        "embed_dim": (8, 8, 16, 16),
        "num_heads": (2, 2, 2, 2),
        "num_groups": (2, 2, 2, 2),
        "window_size": 2,
        "projection_dim": 16,
    }
    config = Florence2Config(
        vision_config=vision, text_config=text, image_token_id=tokenizer.image_token_id, **ends
    )
    model = Florence2ForConditionalGeneration(config)
    # random weights would say nothing but the end
    model.generation_config.update(suppress_tokens=[0, 1, 3, 4, 5], min_new_tokens=6)
    model.save_pretrained(folder)
    seen = CLIPImageProcessor(size={"height": SIDE, "width": SIDE}, do_center_crop=False)
    seen.image_seq_length = (SIDE // 32) ** 2 + 1
    Florence2Processor(seen, tokenizer).save_pretrained(folder)


def _llava(folder: Path) -> None:
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(2)
    tokenizer = _bart()
    layers = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    layers |= {"intermediate_size": 16}
    vision = CLIPVisionConfig(**layers, image_size=SIDE, patch_size=16, projection_dim=16)
    ends = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    text = LlamaConfig(**layers, vocab_size=len(tokenizer), num_key_value_heads=2, **ends)
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.image_token_id
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.update(suppress_tokens=[0, 1, 3, 4, 5], min_new_tokens=6, **ends)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    seen = CLIPImageProcessor(size=size, do_center_crop=False)
    LlavaProcessor(
        seen,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def _bart() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<image>", *WORDS]
    model = Tokenizer(
        WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>")
    )
    model.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=model,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        extra_special_tokens={"image_token": "<image>"},
    )
