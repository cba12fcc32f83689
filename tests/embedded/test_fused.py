"""The functions that torch's compiler may fuse, compiled and as they are written; and what happens where it fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tape import Tape  # noqa: E402
from toy_runs import draw_pictures  # noqa: E402

from lorakit.embedded.models import fused  # noqa: E402
from lorakit.embedded.training import recorded  # noqa: E402

COMPILE = torch.compile
TWO_SHAPES = {"resolution": "128", "bucket_reso_steps": 32}
needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler"
)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Nothing is left of what was compiled before; one thread compiles, in this process."""
    torch.compiler.reset()
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    yield
    torch.compiler.reset()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The compiler traces and takes apart, but its last part writes no C++; the graphs' sizes."""
    traced: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        from torch._dynamo.backends.debugging import aot_eager

        traced.append(graph.code)
        return aot_eager(graph, inputs)

    monkeypatch.setattr(torch, "compile", partial(COMPILE, backend=backend))
    return traced


def numbers(*shape: int) -> Any:
    return torch.randn(*shape).requires_grad_()


def given(name: str) -> tuple[Any, ...]:
    torch.manual_seed(2)
    norm = (8, torch.rand(32), torch.rand(32), 1e-5)
    return {
        "gated": (numbers(2, 24, 32),),
        "normed_silu": (numbers(2, 32, 6, 4), *norm),
        "shifted": (numbers(2, 24, 32), numbers(2, 1, 32), numbers(2, 1, 32)),
        "added": (numbers(2, 24, 32), numbers(2, 1, 32), numbers(2, 24, 32)),
        "beside": (numbers(2, 24, 16), numbers(2, 24, 80)[..., 48:]),
        "rotated": (numbers(2, 3, 24, 16), torch.randn(24, 8, 2)),
    }[name]


@pytest.mark.slow
@pytest.mark.parametrize("function", fused.FUSIBLE, ids=lambda one: one.__name__)
def test_each_is_traced_whole_and_gives_the_numbers_it_is_written_for(function: Any) -> None:
    answers = []
    for one in (function, COMPILE(function, backend="aot_eager", fullgraph=True, dynamic=True)):
        inputs = given(function.__name__)
        learned = [x for x in inputs if torch.is_tensor(x) and x.requires_grad]
        out = one(*inputs)
        answers.append([out, *torch.autograd.grad(out.square().sum(), learned)])
    for found, expected in zip(*answers, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("sd15", {}),
        pytest.param("flux", {}, marks=pytest.mark.long),
        pytest.param("sd15", {"gradient_checkpointing": True}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_a_traced_training_ends_with_the_numbers_of_a_plain_one(
    train: Callable[..., Any], quickly: list[str], family: str, more: dict[str, Any]
) -> None:
    plain = train(family, **TWO_SHAPES, **more)
    assert not quickly
    traced = train(family, **TWO_SHAPES, **more, torch_compile=True)
    assert traced.code == 0, traced.said
    assert "torch_compile" not in traced.said
    assert 2 <= len(quickly) <= 4 * fused.MOST
    same(traced, plain)


def same(found: Any, expected: Any) -> None:
    wanted = expected.tensors()
    for key, tensor in found.tensors().items():
        torch.testing.assert_close(tensor, wanted[key], atol=1e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
def test_a_compiler_that_fails_is_said_once_and_the_bytes_are_those_of_a_plain_run(
    train: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    plain: Callable[..., Any],
    late: bool,
) -> None:
    calls = []

    def broken(graph: Any, inputs: Any) -> Any:
        calls.append(graph)
        if late and len(calls) == 1:
            return graph.forward
        raise RuntimeError("no kernel\nfor anyone")

    monkeypatch.setattr(torch, "compile", partial(COMPILE, backend=broken))
    outcome = train(torch_compile=True)
    assert outcome.code == 0, outcome.said
    said = "note: torch_compile failed, steps go on without it; RuntimeError: no kernel\n"
    assert outcome.said.count(said) == 1
    assert outcome.digest() == plain().digest()


@pytest.mark.slow
def test_what_fails_by_itself_is_not_called_the_compilers_fault(
    train: Callable[..., Any],
    quickly: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def wrong(*_: Any, **__: Any) -> Any:
        raise ValueError("not of the compiler")

    monkeypatch.setattr("lorakit.embedded.training.objective.Objective.loss_of", wrong)
    with pytest.raises(ValueError, match="not of the compiler"):
        train(torch_compile=True)
    assert "torch_compile failed" not in "".join(capsys.readouterr())


@pytest.mark.slow
def test_a_traced_step_is_recorded_and_a_size_that_comes_late_is_no_trouble(
    train: Callable[..., Any], quickly: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The tape cannot look into a compiled function, and writes down what it is made of."""
    own_compile = torch.compile
    breaking = lambda one, **how: own_compile(one, **{**how, "fullgraph": False})  # noqa: E731
    monkeypatch.setattr(torch, "compile", breaking)
    data = tmp_path / "odd"
    draw_pictures(data / "4_zwx", 2, wide=False)
    draw_pictures(data / "1_zwx", 2)  # one of them is wide
    options = {**TWO_SHAPES, "data_dir": data, "max_train_epochs": 1}
    plain = train(**options)
    own, tape = recorded.acts_of, Tape()
    monkeypatch.setattr(recorded, "acts_of", lambda session: own(session, tape))
    outcome = train(**options, torch_compile=True)
    assert outcome.code == 0, outcome.said
    assert (tape.recorded, quickly != []) == (2, True), outcome.said
    same(outcome, plain)


@needs_compiler
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_a_compiled_training_ends_with_the_numbers_of_a_plain_one(
    train: Callable[..., Any], family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By inductor's C++ kernels; its files are kept for the next run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    short = {"max_train_epochs": None, "max_train_steps": 3}
    plain = train(family, **short)
    compiled = train(family, **short, torch_compile=True)
    assert compiled.code == 0, compiled.said
    assert "torch_compile" not in compiled.said
    kept = tmp_path / "cache" / "lorakit" / "embedded" / "inductor"
    assert any(kept.rglob("*.so"))
    assert compiled.digest() != plain.digest()
    same(compiled, plain)
