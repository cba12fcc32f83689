"""The option catalogue: committed data, equal to the checkout it was read from and to the script's own parser."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorakit.catalogue import options as catalogue
from lorakit.catalogue import parsers
from lorakit.catalogue.options import commit, networks, options
from lorakit.exchange.command import options_of
from lorakit.families import FAMILIES
from lorakit.proc import ask
from lorakit.trainers.kohya.locate import PIN

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import make_catalogue  # noqa: E402  (tools/ is not a package)

MINI = {
    "train_network.py": """
import torch
from library import common, missing
import library.common as again
from library.common import kind as of
class Net(torch.nn.Module): pass
def setup_parser():
    parser = common.argparse.ArgumentParser()
    common.add(parser)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--args", nargs="*", type=str)
    parser.add_argument("--warm", type=of, default=0)
    return parser
""",
    "library/common.py": """
import argparse
import train_network
SIZES = ["a", "b"]
DEVICE = train_network.torch.device("cpu")
def kind(x: SIZES = DEVICE): return x
def add(parser):
    parser.add_argument("--flag", action="store_true", help="words")
    parser.add_argument("--size", choices=SIZES, default="a")
""",
}
NETWORK = """
def create_network(**kwargs):
    dim = kwargs.get("conv_dim")
    dim = int(dim)
    return Net(**rest_of(kwargs))
def rest_of(net_kwargs):
    return net_kwargs.get("mode") in ["a", "b"]
"""
FAMILY_SCRIPT = """
import train_network
def setup_parser():
    parser = train_network.setup_parser()
    parser.set_defaults(size="b")
    return parser
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in {**dict.fromkeys(parsers.SCRIPTS, FAMILY_SCRIPT), **MINI}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_every_family_has_its_script_in_the_catalogue() -> None:
    for family in FAMILIES.values():
        known = options(family.trainers[0], family.script)
        assert "network_dim" in known
        assert {weight.option for weight in family.weights} <= set(known), family.name


def test_counts_types_choices_and_defaults_are_as_the_pinned_commit_says() -> None:
    sizes = {script: len(options("kohya", script)) for script in parsers.SCRIPTS}
    assert (sizes["train_network.py"], sizes["sdxl_train_network.py"]) == (193, 196)
    assert sizes["flux_train_network.py"] == 215
    flux = options("kohya", "flux_train_network.py")
    assert flux["lr_warmup_steps"].type == "number"
    assert flux["text_encoder_lr"].many
    assert flux["sdpa"].type == "bool"
    assert flux["guidance_scale"].default == 3.5
    assert "raw" in flux["model_prediction_type"].choices
    assert commit("kohya") == PIN


def test_the_embedded_trainers_options_are_kohyas_own_and_a_few_more() -> None:
    kohya = options("kohya", "flux_train_network.py")
    embedded = options("embedded", "flux_train_network.py")
    assert embedded["guidance_scale"] == kohya["guidance_scale"]
    assert {"deepspeed", "guidance_scale"} - set(embedded) == {"deepspeed"}
    assert embedded["model_type"].choices == ("flux",), "not all of kohya's are implemented"
    assert embedded["ema_decay"].type == "float"
    assert "guidance_scale" not in options("embedded", "sdxl_train_network.py")


def test_families_keep_what_they_say_differently(checkout: Path) -> None:
    (checkout / "library/common.py").write_text(
        MINI["library/common.py"] + "def int_or_float(x): return x\n", encoding="utf-8"
    )
    script = checkout / "train_network.py"
    script.write_text(
        script.read_text(encoding="utf-8").replace(
            "import kind as of", "import int_or_float as of"
        ),
        encoding="utf-8",
    )
    found = parsers.read_catalogue(checkout)
    assert found["options"] == {
        "args": {"type": "str", "many": True},
        "flag": {"type": "bool", "default": False},
        "rank": {"type": "int", "default": 4},
        "size": {"type": "str", "choices": ["a", "b"], "default": "a"},
        "warm": {"type": "number", "default": 0},
    }
    assert found["overrides"]["flux_train_network.py"] == {"size": {"default": "b"}}
    assert "train_network.py" not in found["overrides"]


def test_an_unknown_converter_stops_the_tool_by_name(checkout: Path) -> None:
    with pytest.raises(ValueError, match="--warm"):
        parsers.read_catalogue(checkout)


@pytest.fixture
def newer(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout of another commit, configured; with an option that the pin has not."""
    script = checkout / "library" / "common.py"
    script.write_text(
        script.read_text(encoding="utf-8")
        .replace('"words")', '"words")\n    parser.add_argument("--of_2027", type=int, default=7)')
        .replace("def kind", "kind = int\ndef other"),
        encoding="utf-8",
    )
    (checkout / "train_network.py").write_text(
        MINI["train_network.py"].replace("type=of", "type=int"), encoding="utf-8"
    )
    (checkout / "networks").mkdir()
    (checkout / "networks" / "lora_2027.py").write_text(NETWORK, encoding="utf-8")
    (checkout / ".git").mkdir()
    (checkout / ".git" / "HEAD").write_text("a" * 40, encoding="utf-8")
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(checkout))
    monkeypatch.setenv("XDG_CACHE_HOME", str(checkout / "cache"))
    forget()
    yield checkout
    forget()


def forget() -> None:
    catalogue.options.cache_clear()
    options_of.cache_clear()
    catalogue._in_use.cache_clear()


def test_a_checkout_that_is_not_the_pin_is_asked_for_its_own_options(newer: Path) -> None:
    assert options("kohya", "train_network.py")["of_2027"].default == 7
    assert "network_dim" not in options("kohya", "train_network.py")
    assert networks()["networks.lora_2027"] == {"conv_dim": "int", "mode": "text"}
    assert "networks.lora_flux" in networks()
    embedded = options("embedded", "train_network.py")
    assert "network_dim" in embedded, "the embedded trainer's do not change with it"
    assert "of_2027" not in embedded
    forget()
    (newer / "train_network.py").unlink()  # remembered by its commit, and not read again
    assert "of_2027" in options("kohya", "train_network.py")


def test_a_checkout_that_cannot_be_read_or_has_no_commit_leaves_the_pins_options(
    newer: Path,
) -> None:
    (newer / "train_network.py").write_text("def setup_parser(:", encoding="utf-8")
    assert "network_dim" in options("kohya", "train_network.py")
    (newer / ".git" / "HEAD").unlink()
    forget()
    assert "network_dim" in options("kohya", "train_network.py")


@pytest.mark.real
def test_committed_catalogue_equals_the_checkout(sd_scripts: Path) -> None:
    assert make_catalogue.TARGET.read_text(encoding="utf-8") == make_catalogue.text(
        parsers.read_catalogue(sd_scripts, PIN)
    )


REAL_PARSER = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
found = {}
for script in sys.argv[2:]:
    parser = importlib.import_module(script[:-3]).setup_parser()
    found[script] = {
        a.dest: [getattr(a.type, "__name__", None), a.nargs, list(a.choices or ()), a.default]
        for a in parser._actions if a.dest != "help"
    }
print("\\n" + json.dumps(found))
"""


@pytest.mark.real
def test_the_real_parsers_say_the_same(sd_scripts: Path, tmp_path: Path) -> None:
    from lorakit.trainers.kohya.locate import require

    scripts = parsers.SCRIPTS
    answer = ask(
        [str(require().python), "-c", REAL_PARSER, str(sd_scripts), *scripts],
        cwd=tmp_path,
        timeout_s=240,
    )
    assert answer.code == 0, answer.err
    found = json.loads(answer.out.splitlines()[-1])
    names = {
        None: "str",
        "str": "str",
        "Path": "str",
        "int": "int",
        "float": "float",
        "int_or_float": "number",
    }
    for script in scripts:
        known = options("kohya", script)
        assert set(found[script]) == set(known), script
        for name, (kind, nargs, choices, default) in found[script].items():
            option = known[name]
            expected = (
                "bool" if nargs == 0 else names[kind],
                nargs in {"*", "+"},
                choices,
                default,
            )
            assert (option.type, option.many, list(option.choices), option.default) == expected, (
                f"{script} --{name}"
            )
