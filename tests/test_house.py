"""The house itself: who may import whom, what stays cheap, and that every door leads somewhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Container
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest
from plan_cases import weights

from lorakit import cli
from lorakit.cli import main as front
from lorakit.proc import ask

PACKAGE = Path(front.__file__).parents[1]
ROOT = PACKAGE.parent
ROOMS = (  # from the ground up: a room imports rooms that stand before it, never one that stands behind it
    "errors",
    "user_files",
    "json_text",
    "tomllib",
    "private",
    "portable",
    "files",
    "typed_json",
    "proc",
    "config",
    "machine",
    "processes",
    "owner",
    "data",
    "events",
    "logfile",
    "memo",
    "journal",
    "toml_text",
    "show",
    "families",
    "catalogue",
    "pictures",
    "weights",
    "dataset",
    "recipe",
    "trainers",
    "plan",
    "embedded",
    "runs",
    "proof",
    "run",
    "sheet",
    "judge",
    "rehearse",
    "report",
    "deploy",
    "exchange",
    "engines",
    "doctor",
    "cli",
)
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "peft"}


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "lorakit"
                else {node.module}
            )
    return found


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


SOURCES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent != PACKAGE or path.stem not in {"__init__", "__main__"}
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_only(path: Path) -> None:
    room = room_of(path)
    for name in imports_of(path):
        top = name.split(".")[0]
        assert room == "embedded" or top not in HEAVY, f"{path} imports {name}: only embedded/ may"
        if (
            top == "lorakit"
            and "." in name
            and (target := name.split(".")[1]) not in {room, "__version__"}
        ):
            assert ROOMS.index(target) < ROOMS.index(room), (
                f"{path} ({room}) must not import {name}"
            )


def modules_of(path: Path, names: Container[str]) -> set[str]:
    """Every module of ours that a file imports, anywhere; `from package import module` means that module."""
    nodes = [node for node in nodes_of(path) if isinstance(node, ast.ImportFrom)]
    pairs = [
        (str(node.module), f"{node.module}.{alias.name}") for node in nodes for alias in node.names
    ]
    return {
        name for module, inner in pairs if (name := inner if inner in names else module) in names
    }


def test_no_imports_go_in_a_circle() -> None:
    names = {
        ".".join(("lorakit", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in SOURCES
    }
    sorter = TopologicalSorter(
        {name: modules_of(path, names) - {name} for name, path in names.items()}
    )
    assert len(list(sorter.static_order())) == len(names)  # a circle raises, and names its modules


def test_no_room_is_ignored_by_git_and_so_left_out_of_the_wheel() -> None:
    folders = sorted({str(path.parent.relative_to(ROOT)) for path in SOURCES})
    answer = ask(["git", "check-ignore", *(f"{folder}/new.py" for folder in folders)], cwd=ROOT)
    if answer.code == 128:
        pytest.skip("this is not a git checkout")
    assert answer.out == ""


def test_no_room_prints_but_the_command_line_and_the_train_script() -> None:
    for path in SOURCES:
        if room_of(path) in {"cli", "show", "embedded"}:
            continue
        calls = [node.func for node in nodes_of(path) if isinstance(node, ast.Call)]
        assert "print" not in [call.id for call in calls if isinstance(call, ast.Name)], path


def test_the_command_line_prints_through_the_one_door_that_escapes() -> None:
    for path in SOURCES:
        if room_of(path) == "cli" and path.name != "main.py":
            calls = [node.func for node in nodes_of(path) if isinstance(node, ast.Call)]
            assert "print" not in [call.id for call in calls if isinstance(call, ast.Name)], path


def commands(group: ModuleType = cli, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in group.COMMANDS:
        module = front.module_of(group, name)
        is_group = hasattr(module, "COMMANDS")
        found += commands(module, (*prefix, name)) if is_group else [(*prefix, name)]
    return found


def test_every_command_has_help_with_a_description(capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands():
        with pytest.raises(SystemExit) as stopped:
            front.main([*words, "--help"])
        assert stopped.value.code == 0
        out = capsys.readouterr().out
        assert out.startswith(f"usage: lorakit {' '.join(words)}") and "%%" not in out, words
        about = out.split("\n\n")[1]
        assert about.endswith(".") and "\n" not in about, f"half a sentence: {about}"


@pytest.mark.parametrize("argv", [["--help"], ["--version"]])
def test_light_commands_import_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys; from lorakit.cli.main import main; main(sys.argv[1:]); "
        "print([m for m in ('torch', 'accelerate', 'transformers', 'diffusers', 'numpy', 'PIL', 'rich', 'psutil', 'filelock') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


IMPORTED = (
    "import sys; before = set(sys.modules); from lorakit.cli.main import main; main(sys.argv[1:]); "
    "print('IMPORTED', *sorted(set(sys.modules) - before), file=sys.stderr)"
)


def imported_by(*argv: str) -> set[str]:
    """What a command imports of ours and of others; it must go well."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *argv], capture_output=True, text=True, check=True
    )
    head, *names = done.stderr.splitlines()[-1].split()
    assert head == "IMPORTED"
    return set(names)


def test_inspect_imports_a_reader_of_files_and_nothing_that_plans(tmp_path: Path) -> None:
    lora = weights(
        tmp_path / "big.safetensors",
        {
            "lora_unet_mid_block_proj_in.lora_down.weight": ("F16", (8, 130_000_000)),
            "lora_unet_mid_block_proj_in.lora_up.weight": ("F16", (8, 8)),
        },
    )
    names = imported_by("inspect", str(lora))
    rooms = {name.split(".")[1] for name in names if name.startswith("lorakit.")}
    assert rooms.isdisjoint({"plan", "recipe", "trainers", "families", "dataset", "memo", "config"})
    assert names.isdisjoint({"numpy", "subprocess", "tempfile", "difflib", "traceback"})
    assert len({name for name in names if name.startswith("lorakit")}) <= 24


def test_a_plan_imports_no_download_lock_and_no_statistics() -> None:
    names = imported_by("plan", str(ROOT / "recipes/demo.toml"), "--for", "cuda:24")
    assert "lorakit.plan.make" in names
    heavy = {"filelock", "statistics", "zipfile", "concurrent.futures", "logging", "numpy", "yaml"}
    assert names.isdisjoint(heavy), sorted(names & heavy)
    others = ("kohya.trainer", "musubi.trainer", "ai_toolkit.trainer")
    heavy = {"lorakit.runs.record", *(f"lorakit.trainers.{one}" for one in others)}
    assert names.isdisjoint(heavy), sorted(names & heavy)


def test_a_mistyped_command_names_the_nearest_and_exits_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert front.main(["trian"]) == 2
    assert "Did you mean train?" in capsys.readouterr().err


def test_a_bug_of_ours_leaves_two_lines_and_a_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "dispatch", lambda *_: 1 / 0)
    assert front.main(["plan"]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "Traceback" in Path(lines[1].rsplit(": ", 1)[1]).read_text()


def test_a_reader_that_goes_away_is_not_an_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m lorakit presets --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert done.returncode in {0, 141}
    assert done.stderr == ""


COUNTED = re.compile(r"(?<! of )\{(?!counted\()[^{}]*\} (?:captions|images|pictures)\b")
NEVER_ONE = {  # of what is counted there, there are several
    "cli/dataset/select.py",
    "dataset/check/__init__.py",
    "dataset/choose/rank.py",
}


def test_what_is_counted_has_its_plural_from_one_place() -> None:
    found = {
        f"{file.relative_to(PACKAGE).as_posix()}: {match[0]}"
        for file in PACKAGE.rglob("*.py")
        if file.relative_to(PACKAGE).as_posix() not in NEVER_ONE
        for match in COUNTED.finditer(file.read_text(encoding="utf-8"))
    }
    assert found == set()
