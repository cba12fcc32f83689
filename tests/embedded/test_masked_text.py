"""T5's padding behind a mask is left out of FLUX's steps, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lorakit.embedded.data.cache import Texts  # noqa: E402 -- after the check that torch is there
from lorakit.embedded.models import open_base  # noqa: E402

LONG = "far away " * 10


def opened(folder: Path, **options: Any) -> Any:
    given = {"pretrained_model_name_or_path": str(folder), "t5xxl_max_token_length": 300}
    return open_base(SimpleNamespace(**given, **options), "flux")


def told(base: Any, captions: list[str]) -> tuple[Any, Any]:
    """Of a cache, and of the encoders themselves."""
    encoders, tokenizers = base.load_encoders(torch.float32, "cpu"), base.load_tokenizers()
    texts = Texts(base, torch.device("cpu"), tokenizers, encoders)
    texts.remember(captions)
    whole = base.encode(encoders, base.tokenize(tokenizers, captions))
    texts.encoders = ()
    return texts.of(captions), whole


@pytest.mark.parametrize(
    ("captions", "length"), [(["a fox"], 64), (["a fox", LONG], 128), ([LONG * 9], 300)], ids=str
)
def test_a_masked_text_is_as_long_as_what_is_seen_of_it(
    tiny: Callable[[str], Path], captions: list[str], length: int
) -> None:
    base = opened(tiny("flux"), apply_t5_attn_mask=True)
    cut, whole = told(base, captions)
    assert (cut.hidden.shape[1], cut.mask.shape[1]) == (length, length)
    assert int(cut.mask.sum()) == int(whole.mask.sum())
    flux, count = base.load_denoiser(torch.float32, "cpu"), len(captions)
    noisy, times = torch.randn(count, 4, 8, 12), torch.full((count,), 500.0)
    answers = [base.predict(flux, noisy, times, text) for text in (cut, whole)]
    torch.testing.assert_close(*answers, atol=1e-5, rtol=1e-5)


def test_without_a_mask_the_padding_is_part_of_the_text(tiny: Callable[[str], Path]) -> None:
    base = opened(tiny("flux"))
    cut, whole = told(base, ["a fox"])
    assert torch.equal(cut.hidden, whole.hidden)
