"""Base models from single files or diffusers folders, in plain torch, one part at a time.

    base = open_base(args, "sdxl")                     # headers only
    vae = base.load_vae(torch.float32, "cpu")          # use it, drop it
    text = base.encode(base.load_encoders(...), base.tokenize(base.load_tokenizers(), captions))
    prediction = base.predict(base.load_denoiser(...), noisy, timesteps, text, time_ids=...)

Modules carry the names of diffusers and transformers (FLUX: of its own files), which kohya's LoRA
keys are made of; SDXL's keys use the LDM names instead: `ldm_module`.
"""

from lorakit.embedded.models.base import Base
from lorakit.embedded.models.layouts import ldm_module
from lorakit.embedded.models.opening import open_base
from lorakit.embedded.models.prompts import Conditioning

__all__ = ["Base", "Conditioning", "ldm_module", "open_base"]
