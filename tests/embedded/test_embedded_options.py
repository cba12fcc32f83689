"""No option is taken and then forgotten: each is read while a LoRA is trained, or refused, or listed as always so."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_bases import prompts_toml

torch = pytest.importorskip("torch")

from toy_runs import MODULES, draw_pictures  # noqa: E402

from lorakit.catalogue import options as catalogue  # noqa: E402
from lorakit.embedded import arguments  # noqa: E402
from lorakit.trainers.embedded import SCRIPTS, options, rules, schedulers  # noqa: E402
from lorakit.trainers.optimisers import SCHEDULES  # noqa: E402

# read before there is a namespace; read with several processes (test_embedded_stops); read where wandb is installed
ELSEWHERE = {
    "config_file",
    "ddp_timeout",
    "wandb_run_name",
    "no_cuda_graphs",
}  # the last: with a card
# Accepted because recipes for kohya's scripts have them; what they ask for always holds here, or
# means nothing here.
ALWAYS_SO = (
    "console_log_level",
    "console_log_simple",
    "disable_mmap_load_safetensors",
    "highvram",
    "lowram",
    "persistent_data_loader_workers",
    "save_model_as",
    "sdpa",
    "skip_cache_check",
    "skip_until_initial_step",
    "model_type",
)
OPENS_DOORS: dict[str, Any] = {  # settings behind which other settings are read
    "loss_type": "huber",
    "huber_schedule": "exponential",
    "ip_noise_gamma": 0.1,
    "validation_split": 0.25,
    "sample_at_first": True,
    "save_every_n_steps": 2,
    "save_every_n_epochs": 1,
    "save_state": True,
    "max_train_epochs": 2,
    "flip_aug": True,
    "mixed_precision": "bf16",
    "save_best": True,
}
NOISE: dict[str, Any] = {"noise_offset": 0.1, "multires_noise_iterations": 2, "min_snr_gamma": 5.0}


@pytest.mark.slow
@pytest.mark.parametrize("family", SCRIPTS)
def test_every_option_is_read_or_refused_or_always_so(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    read: set[str] = set()

    class Recorded(argparse.Namespace):
        def __getattribute__(self, name: str) -> Any:
            if not sys._getframe(1).f_code.co_filename.endswith(
                "metadata.py"
            ):  # to be written down is no effect
                read.add(name)
            return super().__getattribute__(name)

    plain = arguments.read
    monkeypatch.setattr(
        arguments, "read", lambda script, words: Recorded(**vars(plain(script, words)))
    )
    prompts = prompts_toml(tmp_path / "prompts.toml", "zwx --w 64 --h 64 --s 1")
    draw_pictures(tmp_path / "reg" / "1_wall", 1)
    doors = {
        **OPENS_DOORS,
        "sample_prompts": prompts,
        "logging_dir": tmp_path / "logs",
        "reg_data_dir": tmp_path / "reg",
    }
    first = train(
        family,
        **doors,
        **(NOISE if family != "flux" else {"model_prediction_type": "sigma_scaled"}),
    )
    assert first.code == 0, first.said
    more = {"timestep_sampling": "shift"} if family == "flux" else {}
    dataset = tmp_path / "dataset.toml"
    dataset.write_text(
        f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "{tmp_path / "reg" / "1_wall"}"\n',
        encoding="utf-8",
    )
    again = train(
        family,
        dataset_config=dataset,
        network_weights=first.folder / "fox.safetensors",
        dim_from_weights=True,
        cache_latents=False,
        cache_text_encoder_outputs=True,
        max_train_epochs=None,
        max_train_steps=1,
        **more,
    )
    assert again.code == 0, again.said
    if family == "flux":
        train(
            family,
            timestep_sampling="sigma",
            weighting_scheme="logit_normal",
            max_train_epochs=None,
            max_train_steps=1,
        )
        train(
            family,
            timestep_sampling="sigma",
            weighting_scheme="mode",
            max_train_epochs=None,
            max_train_steps=1,
        )
    for name in SCHEDULES:
        values = {
            key: option.default
            for key, option in catalogue.options("embedded", SCRIPTS[family].name).items()
        }
        asked = {
            "lr_scheduler": name,
            "lr_scheduler_min_lr_ratio": 0.1,
            "lr_scheduler_args": ["step_rules='1:5,0.1'"],
        }
        schedulers.schedule(Recorded(**{**values, **asked}), 10)(9)
    wanted = {*catalogue.options("embedded", SCRIPTS[family].name)} - ELSEWHERE
    wanted -= {name for name in wanted if name.startswith("metadata_")}
    wanted -= {"training_comment", "no_metadata"}
    wanted -= {*ALWAYS_SO, *options.WITHOUT_EFFECT[family]}
    assert wanted - read == set()


def test_what_is_always_so_is_in_the_docs() -> None:
    said = (Path(__file__).parents[2] / "docs" / "embedded.md").read_text(encoding="utf-8")
    assert [name for name in ALWAYS_SO if f"`{name}`" not in said] == []


@pytest.mark.parametrize(
    ("family", "name"),
    [(family, name) for family, names in options.WITHOUT_EFFECT.items() for name in names],
)
def test_an_option_without_effect_on_a_family_is_refused(family: str, name: str) -> None:
    known = catalogue.options("embedded", SCRIPTS[family].name)
    value: Any = (
        known[name].choices[-1]
        if known[name].choices
        else {"bool": True, "str": "x", "int": 2, "float": 0.5}[known[name].type]
    )
    values = {key: option.default for key, option in known.items()} | {
        "network_module": MODULES[family]
    }
    assert not rules.faults_of(SCRIPTS[family].name, values, planned=True)
    found = rules.faults_of(SCRIPTS[family].name, {**values, name: value}, planned=True)
    assert [fault.where for fault in found if fault.rule == "no-effect"] == [name]


def test_every_network_argument_is_read_somewhere() -> None:
    sources = [path.read_text(encoding="utf-8") for path in SCRIPTS["sd15"].parent.rglob("*.py")]
    for name in {name for names in options.NETWORK_ARGS.values() for name in names}:
        spelt = (
            name.replace("unet", "{").replace("text_encoder", "{").split("{")[0]
            if name.startswith("loraplus_")
            else name
        )
        words = {f'"{name}"', f'"{name.removesuffix("_dim")}"', spelt}
        assert any(word in source for source in sources for word in words), name
