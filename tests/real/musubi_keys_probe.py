"""Run by musubi-tuner's own Python, its src on PYTHONPATH: the names of the weights of its transformers, at full size and without memory. Prints one JSON object."""

import contextlib
import json
import sys

from accelerate import init_empty_weights
from musubi_tuner.flux_2 import flux2_models
from musubi_tuner.krea2 import krea2_mmdit, krea2_utils
from musubi_tuner.qwen_image import qwen_image_model
from musubi_tuner.wan.configs import WAN_CONFIGS
from musubi_tuner.wan.modules import model
from musubi_tuner.zimage import zimage_model

SIZES = ("dim", "ffn_dim", "freq_dim", "in_dim", "num_heads", "num_layers", "out_dim", "text_len")
found = {}
with contextlib.redirect_stdout(sys.stderr), init_empty_weights():
    for name in ("Flux2Params", "Klein9BParams", "Klein4BParams"):
        params = getattr(flux2_models, name)()
        found[f"flux2 {name}"] = flux2_models.Flux2(params, "torch", False)
    found["krea2"] = krea2_mmdit.SingleStreamDiT(krea2_utils.single_mmdit_large_wide)
    found["qwen_image"] = qwen_image_model.QwenImageTransformer2DModel()
    found["zimage"] = zimage_model.create_model("torch", False, None)
    for task in ("t2v-14B", "i2v-A14B"):
        config = WAN_CONFIGS[task]
        sizes = {key: config[key] for key in SIZES}
        found[f"wan21 {task}"] = model.WanModel(model_version="2.2", **sizes)
print(json.dumps({name: list(one.state_dict()) for name, one in found.items()}))
