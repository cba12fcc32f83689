"""Makes musubi-tuner's Z-Image and Wan small from outside: its constants are changed as their modules are
imported. The checkout itself is not touched. Python runs this file by its name, where its folder
is on PYTHONPATH. TOY_DIES_AFTER=N: a power cut in step N.
"""

import importlib.abc
import importlib.util
import os
import signal
import sys

CONSTANTS = {
    "ROPE_AXES_DIMS": [32, 48, 48],  # they must sum to one head's width
    "DEFAULT_TRANSFORMER_DIM": 128,
    "DEFAULT_TRANSFORMER_N_LAYERS": 2,
    "DEFAULT_TRANSFORMER_N_REFINER_LAYERS": 1,
    "DEFAULT_TRANSFORMER_N_HEADS": 1,
    "DEFAULT_TRANSFORMER_N_KV_HEADS": 1,
    "DEFAULT_TRANSFORMER_CAP_FEAT_DIM": 64,
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "head_dim": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "max_window_layers": 3,
    "vocab_size": 300,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


WAN = {"dim": 128, "ffn_dim": 128, "num_heads": 1, "num_layers": 2}
T5 = {"vocab_size": 300, "dim_attn": 64, "dim_ffn": 64, "num_heads": 2, "encoder_layers": 1}


def smaller(make, sizes):
    return lambda *words, **config: make(*words, **{**config, **sizes})


def shrink(module):
    if module.__name__.endswith("train_utils"):
        cut_off(module, int(os.environ.get("TOY_DIES_AFTER", "0")))
    elif module.__name__.endswith("zimage_config"):
        vars(module).update(CONSTANTS)
    elif ".wan_" in module.__name__:
        getattr(module, module.__name__.rpartition("wan_")[2]).update(WAN)
    elif module.__name__.endswith("wan.modules.t5"):
        module.umt5_xxl = smaller(module.umt5_xxl, T5)
    elif module.__name__.endswith("wan.modules.vae"):
        module._video_vae = smaller(module._video_vae, {"dim": 16})
    else:
        full = module.Qwen3Config
        module.Qwen3Config = lambda **config: full(**{**config, **TEXT})


def cut_off(module, last):
    add, seen = module.LossRecorder.add, []

    def counted(self, **loss):
        add(self, **loss)
        seen.append(loss)
        if len(seen) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    module.LossRecorder.add = counted


class Shrinking(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    names = (
        "musubi_tuner.zimage.zimage_config",
        "musubi_tuner.zimage.zimage_utils",
        "musubi_tuner.utils.train_utils",
        "musubi_tuner.wan.configs.wan_t2v_14B",
        "musubi_tuner.wan.configs.wan_t2v_A14B",
        "musubi_tuner.wan.configs.wan_i2v_A14B",
        "musubi_tuner.wan.modules.t5",
        "musubi_tuner.wan.modules.vae",
    )

    def find_spec(self, name, path=None, target=None):
        if name not in self.names:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        self.inner, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self.inner.create_module(spec)

    def exec_module(self, module):
        inner = self.inner
        if module.__name__.endswith("wan.modules.t5"):  # it asks for a card as it is read
            sys.modules["torch"].cuda.current_device = lambda: "cpu"
        inner.exec_module(module)
        shrink(module)


sys.meta_path.insert(0, Shrinking())
