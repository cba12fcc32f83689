"""The shape of the house: how much code there is, how it is cut, and what occurs twice.

    python tools/shape.py                 # this checkout
    python tools/shape.py ../before .     # two checkouts beside each other
    python tools/shape.py --json

Lines are counted after `ruff format` at 100 columns on a temporary copy, without the checkout's own
configuration and without its magic trailing commas, so that two checkouts compare whatever their
layout. It reads the sources only and imports nothing of them.

- A circle is a group of files that import each other, directly or round about, wherever in the file
  the import stands; a circle of rooms likewise. An upward import names a room that stands above its
  own in tests/test_house.py of that checkout, which has exemptions where it has them.
- A name that occurs twice is a class, a file, or a public function at the top of a file. A name
  that a Protocol declares may repeat: that is what the Protocol is for. So may a command's
  `add_arguments` and `run`.
- A string-key access to a record: see record_keys.py.
"""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from import_graph import circles, floors_of, room_graph, room_of, upward_imports
from record_keys import Function, RecordReader

FILE_LINES, FUNCTION_LINES = 320, 60
COMMAND = {"add_arguments", "run"}


@dataclass(frozen=True)
class Source:
    """One file of lorakit/, parsed after formatting."""

    name: str  # lorakit/run/child.py
    module: str  # lorakit.run.child
    lines: int
    tree: ast.Module

    @property
    def functions(self) -> list[Function]:
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]


@dataclass(frozen=True)
class Shape:
    lines: int
    files: int
    file_lines: tuple[int, int, int]  # median, 95th percentile, longest
    functions: int
    function_lines: tuple[int, int, int]
    tests_per_code: float
    circles: list[list[str]]
    room_circles: list[list[str]]
    upward: list[str]
    classes_twice: dict[str, list[str]]
    functions_twice: dict[str, list[str]]
    files_twice: dict[str, list[str]]
    record_keys: dict[str, int]
    trainer_names: list[str]
    long_files: dict[str, int] = field(default_factory=dict)
    long_functions: dict[str, int] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, str]]:
        def three(values: tuple[int, int, int]) -> str:
            return " / ".join(map(str, values))

        return [
            ("lines of lorakit/, formatted at 100 columns", f"{self.lines:,}"),
            ("files", str(self.files)),
            ("lines a file: median / p95 / longest", three(self.file_lines)),
            (f"files over {FILE_LINES} lines", str(len(self.long_files))),
            ("functions", f"{self.functions:,}"),
            ("lines a function: median / p95 / longest", three(self.function_lines)),
            (f"functions over {FUNCTION_LINES} lines", str(len(self.long_functions))),
            ("test lines per code line", f"{self.tests_per_code:.2f}"),
            ("import circles between files", str(len(self.circles))),
            ("import circles between rooms", str(len(self.room_circles))),
            ("upward imports between rooms", str(len(self.upward))),
            ("class names that occur twice or more", str(len(self.classes_twice))),
            ("public function names that do", str(len(self.functions_twice))),
            ("file names that do", str(len(self.files_twice))),
            ("string-key accesses to records", str(sum(self.record_keys.values()))),
            ("comparisons with a trainer's name", str(len(self.trainer_names))),
        ]


def shape_of(checkout: Path) -> Shape:
    with tempfile.TemporaryDirectory() as temporary:
        copy = formatted(checkout, Path(temporary))
        sources = read_sources(copy)
        test_lines = sum(count_lines(path) for path in (copy / "tests").rglob("*.py"))
    lengths = {
        f"{source.name}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for source in sources
        for node in source.functions
    }
    lines, graph = sum(source.lines for source in sources), import_graph(sources)
    return Shape(
        lines=lines,
        files=len(sources),
        file_lines=spread([source.lines for source in sources if source.lines > 3]),
        functions=sum(len(source.functions) for source in sources),
        function_lines=spread(list(lengths.values())),
        tests_per_code=test_lines / lines,
        circles=circles(graph),
        room_circles=circles(room_graph(graph)),
        upward=upward_imports(graph, floors_of(checkout)),
        classes_twice=twice(class_names(sources)),
        functions_twice=twice(function_names(sources)),
        files_twice=twice((Path(source.name).name, source.name) for source in sources),
        record_keys=record_accesses(sources),
        trainer_names=trainer_comparisons(sources),
        long_files=over({source.name: source.lines for source in sources}, FILE_LINES),
        long_functions=over(lengths, FUNCTION_LINES),
    )


def formatted(checkout: Path, folder: Path) -> Path:
    for name in ("lorakit", "tests"):
        for path in (checkout / name).rglob("*.py"):
            target = folder / path.relative_to(checkout)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    settings = [
        "--isolated",
        "--line-length",
        "100",
        "--exclude",
        "",
        "--no-cache",
        "--quiet",
        "--config",
    ]
    subprocess.run(
        [ruff(), "format", *settings, "format.skip-magic-trailing-comma = true", str(folder)],
        check=True,
    )
    return folder


def ruff() -> str:
    beside = Path(sys.executable).with_name("ruff")
    found = str(beside) if beside.exists() else shutil.which("ruff")
    return found or sys.exit("shape.py needs ruff: make setup")


def read_sources(folder: Path) -> list[Source]:
    found = []
    for path in sorted((folder / "lorakit").rglob("*.py")):
        name = path.relative_to(folder)
        module = ".".join(name.with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found.append(Source(name.as_posix(), module, count_lines(path), tree))
    return found


def count_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def spread(values: list[int]) -> tuple[int, int, int]:
    return round(statistics.median(values)), sorted(values)[int(0.95 * len(values))], max(values)


def over(lengths: Mapping[str, int], limit: int) -> dict[str, int]:
    long = {name: length for name, length in lengths.items() if length > limit}
    return dict(sorted(long.items(), key=lambda item: -item[1]))


def import_graph(sources: list[Source]) -> dict[str, set[str]]:
    """Module -> the modules it imports; `from package import module` means that module."""
    names = {source.module for source in sources}
    graph: dict[str, set[str]] = {}
    for source in sources:
        wanted: set[str] = set()
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted |= (inner & names) or {node.module}
        graph[source.module] = wanted & names - {source.module}
    return graph


def class_names(sources: list[Source]) -> Iterator[tuple[str, str]]:
    for source in sources:
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef):
                yield node.name, source.name


def function_names(sources: list[Source]) -> Iterator[tuple[str, str]]:
    declared = {
        inner.name
        for source in sources
        for node in source.tree.body
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
        for inner in node.body
        if isinstance(inner, Function)
    }
    for source in sources:
        allowed = declared | COMMAND if room_of(source.module) == "cli" else declared
        functions = [node for node in source.tree.body if isinstance(node, Function)]
        names = [node.name for node in functions if not node.name.startswith("_")]
        yield from ((name, source.name) for name in names if name not in allowed)


def twice(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    places: dict[str, list[str]] = defaultdict(list)
    for name, place in names:
        if name != "__init__.py":
            places[name].append(place)
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def record_accesses(sources: list[Source]) -> dict[str, int]:
    found = {}
    typed = any(name == "Record" for name, _ in class_names(sources))
    for source in sources:
        if not source.module.endswith(("runs.record", "run.record")):
            count = RecordReader(source.tree, typed=typed).count()
            if count:
                found[source.name] = count
    return found


def trainer_comparisons(sources: list[Source]) -> list[str]:
    """`trainer == "kohya"` and its like, outside trainers/."""
    found = []
    for source in sources:
        if room_of(source.module) == "trainers":
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Compare):
                words = {
                    inner.value
                    for side in [node.left, *node.comparators]
                    for inner in [side, *getattr(side, "elts", [])]
                    if isinstance(inner, ast.Constant)
                }
                if words & {"kohya", "embedded"}:
                    found.append(f"{source.name}:{node.lineno}")
    return found


def show(shapes: dict[str, Shape]) -> None:
    table = [[name for name, _ in next(iter(shapes.values())).rows()]]
    table += [[value for _, value in shape.rows()] for shape in shapes.values()]
    heads = ["", *shapes]
    widths = [max(map(len, [head, *column])) for head, column in zip(heads, table, strict=True)]
    for row in [heads, *zip(*table, strict=True)]:
        first, *rest = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join([first, *rest]).rstrip())
    last = list(shapes.values())[-1]
    for title, limit, lengths in (
        ("files", FILE_LINES, last.long_files),
        ("functions", FUNCTION_LINES, last.long_functions),
    ):
        if lengths:
            print(f"\n{title} over {limit} lines:")
        for name, length in lengths.items():
            print(f"  {length:4d}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    here = Path(__file__).parents[1]
    parser.add_argument("checkout", nargs="*", type=Path, default=[here])
    parser.add_argument("--json", action="store_true", help="everything, with the places")
    args = parser.parse_args()
    for path in args.checkout:
        if not (path / "lorakit").is_dir():
            parser.error(f"{path} is not a folder with a checkout of lorakit; try git worktree add")
    shapes = {str(path.resolve().name): shape_of(path) for path in args.checkout}
    if args.json:
        data: dict[str, Any] = {name: vars(shape) for name, shape in shapes.items()}
        print(json.dumps(data, indent=1))
    else:
        show(shapes)


if __name__ == "__main__":
    main()
