"""Optimisers, schedules and foreign networks are held against the classes of the trainer's own environment."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_rules import judge

from lorakit.catalogue.networks import read_networks
from lorakit.trainers import signatures
from lorakit.trainers.kohya.rules import network
from lorakit.trainers.signatures import Environment

OPTIM = """
class Optimizer:
    def __init__(self, params, defaults): ...
    def step(self, closure=None): ...
class AdamW(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *, foreach=None): ...
class SGD(Optimizer):
    def __init__(self, params, lr=1e-3, momentum=0, nesterov=False): ...
class LBFGS(Optimizer):
    def __init__(self, params, lr=1): ...
    def step(self, closure): ...
class SparseAdam(AdamW): ...
"""
SCHEDULE = """
class CosineAnnealingLR:
    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1): ...
    def step(self, epoch=None): ...
class ReduceLROnPlateau:
    def __init__(self, optimizer, mode="min", factor=0.1): ...
    def step(self, metrics, epoch=None): ...
"""
GREEDY = """
class CAME:
    def __init__(self, params, lr=1e-3, weight_decay=0.0, **kwargs): ...
    def step(self, closure=None): ...
class Torch:
    pass
"""
FILES = {
    "torch/__init__.py": "",
    "torch/optim/__init__.py": f"{OPTIM}\nfrom torch.optim import lr_scheduler\n",
    "torch/optim/lr_scheduler.py": SCHEDULE,
    "greedy.py": GREEDY,
    "broken.py": "print('LORAKIT {')\nraise RuntimeError('no card\\nreally none')\n",
    "adapters/__init__.py": "def create_network(): ...\n",
    "adapters/empty.py": "",
}


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose Python finds a small torch; no real one is imported."""
    for name, text in {**FILES, "sd/train_network.py": ""}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(tmp_path / "sd"))
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("remembered")


# settings, rule, a piece of what is said; no rule: nothing is wrong
CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"optimizer_args": ["wieght_decay=0.1"]}, "args-unknown", "Did you mean weight_decay?"),
    ({"optimizer_args": ["weight_decay='0.1'"]}, "args-type", 'Write "weight_decay=0.1".'),
    ({"optimizer_args": ["betas=0.9"]}, "args-type", "betas takes 2 numbers, not 0.9."),
    ({"optimizer_args": ["betas=(0.9, 0.99, 0.999)"]}, "args-type", "betas takes 2 numbers"),
    ({"optimizer_args": ["amsgrad='False'"]}, "args-type", "takes True or False"),
    ({"optimizer_args": ["lr=1.0"]}, "args-given", "by the script itself"),
    ({"optimizer_args": ["weight_decay=0.1", "betas=(0.9, 0.99)", "foreach=True"]}, "", ""),
    ({"optimizer_type": "SGDNesterov", "optimizer_args": ["nesterov=True"]}, "args-given", ""),
    ({"optimizer_type": "SparseAdam"}, "optimizer-cannot", "cannot train here"),
    ({"optimizer_type": "torch.optim.LBFGS"}, "optimizer-cannot", "needs closure"),
    ({"optimizer_type": "torch.optim.Bogus"}, "optimiser-class", "torch.optim has no Bogus"),
    ({"optimizer_type": "torch.optim.adamw"}, "optimiser-class", "Did you mean AdamW?"),
    ({"optimizer_type": "torch.optim.Optimizer"}, "optimiser-class", "is no optimiser"),
    ({"optimizer_type": "greedy.Torch"}, "optimiser-class", "is no optimiser"),
    ({"optimizer_type": "nosuchpkg.Opt"}, "package-missing", "-m pip install nosuchpkg"),
    ({"optimizer_type": "greedy.deep.Opt"}, "package-missing", "has no greedy.deep"),
    ({"optimizer_type": "broken.Opt"}, "package-missing", "RuntimeError: really none"),
    ({"optimizer_type": "greedy.CAME"}, "", ""),
    (
        {"optimizer_type": "greedy.CAME", "optimizer_args": ["weight_decai=0.1"]},
        "args-swallowed",
        "Did you mean weight_decay?",
    ),
    ({"lr_scheduler_type": "Bogus"}, "schedule-class", "torch.optim.lr_scheduler has no Bogus"),
    ({"lr_scheduler_type": "CosineAnnealingLR"}, "args-required", "cannot do without T_max"),
    ({"lr_scheduler_type": "CosineAnnealingLR", "lr_scheduler_args": ["T_max=100"]}, "", ""),
    ({"lr_scheduler_type": "ReduceLROnPlateau"}, "class-step", "its step needs metrics"),
    ({"network_module": "lycoris.kohya"}, "package-missing", "-m pip install lycoris-lora"),
    ({"network_module": "adapters"}, "", ""),
    ({"network_module": "adapters.empty"}, "network-module", "has no create_network"),
]


@pytest.mark.parametrize(
    ("settings", "rule", "said"), CASES, ids=[" ".join(map(str, one[0].values())) for one in CASES]
)
@pytest.mark.usefixtures("trainer")
def test_a_class_is_asked_what_it_takes(
    settings: dict[str, Any],
    rule: str,
    said: str,
    remembered: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(remembered))  # each module is asked for once
    found = judge("sd15", **settings)
    assert list(found) == ([rule] if rule else [])
    assert said in found.get(rule, "")


@pytest.mark.usefixtures("trainer")
def test_the_environment_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judge("sd15", optimizer_args=["weight_decay=0.1"])
    monkeypatch.setattr(signatures, "ask", lambda *_a, **_k: pytest.fail("asked again"))
    found = judge("sd15", optimizer_args=["wieght_decay=0.1"], lr_scheduler_type="Bogus")
    assert set(found) == {"args-unknown", "schedule-class"}


@pytest.mark.usefixtures("trainer")
def test_a_plain_recipe_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "ask", lambda *_a, **_k: pytest.fail("asked"))
    assert judge("sd15", optimizer_type="AdamW8bit") == {}


@pytest.mark.slow
def test_an_environment_that_does_not_answer_in_time_is_a_note(
    trainer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trainer / "slow.py").write_text("import time\ntime.sleep(60)\n", encoding="utf-8")
    monkeypatch.setattr(signatures, "TIMEOUT_S", 1.0)
    began = time.monotonic()
    found = judge("sd15", optimizer_type="slow.Opt")
    assert time.monotonic() - began < 60  # it was not waited for to its end
    assert list(found) == ["unasked"]
    assert found["unasked"].startswith("note")


@pytest.mark.slow
def test_what_was_said_before_the_time_was_up_is_kept(
    trainer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trainer / "schedulefree.py").write_text("import time\ntime.sleep(60)\n", encoding="utf-8")
    monkeypatch.setattr(signatures, "TIMEOUT_S", 2.0)
    answer = Environment(Path(sys.executable), trainer).ask("greedy")
    assert answer is not None
    assert "CAME" in answer["classes"]


LOHA = """
from networks.network_base import shared
def create_network(multiplier, network_dim, network_alpha, vae, text_encoder, unet, **kwargs):
    use_tucker = kwargs.get("use_tucker", "False")
    use_tucker = True if use_tucker.lower() == "true" else False
    factor = int(kwargs.get("factor", -1))
{more}"""


def test_a_network_of_a_newer_checkout_is_held_against_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "network-module" in judge("sdxl", network_module="networks.loha")
    monkeypatch.setattr(network, "networks", lambda: read_networks(tmp_path))
    place = tmp_path / "loha.py"
    place.write_text(LOHA.format(more=""), encoding="utf-8")
    good = ["use_tucker=true", "factor=8"]
    assert judge("sdxl", network_module="networks.loha", network_args=good) == {}
    for word, rule in (("factr=8", "unknown"), ("factor=x", "type"), ("use_tucker=1", "switch")):
        found = judge("sdxl", network_module="networks.loha", network_args=[word])
        assert list(found) == [f"network-args-{rule}"]
    # Now it hands its arguments on to where nobody follows: any name may be right.
    place.write_text(LOHA.format(more="    shared(**kwargs)\n"), encoding="utf-8")
    assert judge("sdxl", network_module="networks.loha", network_args=["factr=8"]) == {}
    assert "network-args-type" in judge(
        "sdxl", network_module="networks.loha", network_args=["factor=x"]
    )
