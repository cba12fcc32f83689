"""Where musubi-tuner and its Python are."""

from __future__ import annotations

from lorakit.trainers.checkout import Home

PIN = "30c658c4f4b0bf05038b3346eff9670259b10fc7"  # v0.3.4
HOME = Home(
    title="musubi-tuner",
    trainer="musubi",
    venv=".venv-musubi",
    mark="src/musubi_tuner/zimage_train_network.py",
    pin=PIN,
    pin_rule="musubi-pin",
    not_there="make vendor-musubi sets one up; LORAKIT_MUSUBI names one that you have.",
    set_up="""\
  make vendor-musubi   in a clone of lorakit: checks it out, builds vendor/.venv-musubi (7 GB)""",
)
locate = HOME.locate
