"""Captions to tokens to conditioning, per family, in kohya's way: chunks of 75,
clip_skip, pooling, T5's mask.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch import Tensor, nn

from lorakit import data
from lorakit.errors import SetupError

Tokens = tuple[Tensor, ...]
CHUNK = 75


@dataclass(frozen=True)
class Conditioning:
    """What the denoiser learns of a batch of captions; every tensor has the batch first."""

    hidden: Tensor  # a state per token
    pooled: Tensor | None = None  # SDXL and FLUX
    mask: Tensor | None = None  # FLUX with apply_t5_attn_mask


class ClipTokenizer:
    def __init__(
        self, folder: Path | None, length: int | None = None, *, pad: int | None = None
    ) -> None:
        """From vocab.json and merges.txt, or tokenizer.json, of a folder; else our own table."""
        vocabulary, merges = _clip_table(folder)
        self.length = length or CHUNK
        self.bos, self.eos = vocabulary[data.START], vocabulary[data.END]
        self.pad = self.eos if pad is None else pad
        self._bpe = data.clip_bpe(vocabulary, merges)

    def numbers(self, text: str) -> list[int]:
        """The tokens of a text, without start, end and padding."""
        return list(self._bpe.encode(text).ids)

    def batch(self, texts: Sequence[str]) -> Tokens:
        """(texts, chunks, 77): kohya cuts into chunks of 75, each with a start and an end."""
        return (torch.tensor([self._chunks(text) for text in texts]),)

    def _chunks(self, text: str) -> list[list[int]]:
        length = self.length
        numbers = [*self.numbers(text)[:length], self.eos]
        numbers += [self.pad] * (length + 1 - len(numbers))
        chunks = []
        for start in range(0, length, CHUNK):
            chunk = [self.bos, *numbers[start : start + CHUNK], numbers[length]]
            if length > CHUNK and self.pad != self.eos:
                if chunk[-2] not in (self.eos, self.pad):
                    chunk[-1] = self.eos
                if chunk[1] == self.pad:
                    chunk[1] = self.eos
            chunks.append(chunk)
        return chunks


class T5Tokenizer:
    def __init__(self, folder: Path, length: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(length)
        self._tokenizer.enable_padding(length=length, pad_id=0, pad_token="<pad>")  # noqa: S106

    def batch(self, texts: Sequence[str]) -> Tokens:
        """Tokens and mask, both (texts, length); the end token counts, the padding does not."""
        encoded = [self._tokenizer.encode(text) for text in texts]
        masks = [one.attention_mask for one in encoded]
        return torch.tensor([one.ids for one in encoded]), torch.tensor(masks)


def _clip_table(folder: Path | None) -> tuple[dict[str, int], list[tuple[str, str]]]:
    if folder is None:
        return data.clip_vocabulary(), list(data.clip_merges())
    try:
        if (folder / "vocab.json").is_file():
            return BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
        model = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]
        pairs = [pair.split() if isinstance(pair, str) else pair for pair in model["merges"]]
        return model["vocab"], [(left, right) for left, right in pairs]
    except Exception as error:  # the library raises nothing narrower
        raise SetupError(f"{folder}: not a CLIP tokenizer ({error}).") from error


# -- encoding


def encode_sd15(
    encoders: Sequence[nn.Module], tokens: Tokens, *, clip_skip: int | None = None
) -> Conditioning:
    """The last layer, or the one `clip_skip` from the end, through the final norm."""
    encoder: Any = encoders[0]
    states = encoder(tokens[0].flatten(0, 1))
    last = states.last
    if clip_skip is not None:
        last = encoder.text_model.final_layer_norm(states.hidden[-clip_skip])
    return Conditioning(_joined(last, len(tokens[0])))


def encode_sdxl(encoders: Sequence[nn.Module], tokens: Tokens) -> Conditioning:
    """Both encoders' last layer but one, side by side; the second's pooled first chunk."""
    first, second = (one(ids.flatten(0, 1)) for one, ids in zip(encoders, tokens, strict=True))
    hidden = [_joined(states.hidden[-2], len(tokens[0])) for states in (first, second)]
    return Conditioning(torch.cat(hidden, dim=-1), second.pooled[:: tokens[1].shape[1]])


def encode_flux(encoders: Sequence[nn.Module], tokens: Tokens, *, use_mask: bool) -> Conditioning:
    """CLIP's pooled state and T5's sequence."""
    clip, t5 = encoders
    ids, t5_ids, mask = tokens
    used = mask if use_mask else None
    return Conditioning(t5(t5_ids, used), clip(ids.flatten(0, 1)).pooled, used)


def _joined(states: Tensor, count: int) -> Tensor:
    """To one sequence a text: the first start, every chunk without its marks, the last end."""
    states = states.unflatten(0, (count, -1))
    if states.shape[1] == 1:
        return states[:, 0]
    inner = states[:, :, 1:-1].flatten(1, 2)
    return torch.cat([states[:, 0, :1], inner, states[:, -1, -1:]], dim=1)
