"""Circles and upward imports in a graph of modules (module -> what it imports), for shape.py."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules in which each reaches each."""
    reach = {module: reached(graph, module) for module in graph}
    groups = {
        tuple(sorted(other for other in reach[module] if module in reach[other]))
        for module in graph
        if module in reach[module]
    }
    return [list(group) for group in sorted(groups)]


def reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph[module]
    return found


def floors_of(checkout: Path) -> dict[str, int]:
    """Each room's height, as the checkout's own test of the house has it."""
    path = checkout / "tests" / "test_house.py"
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id == "ROOMS":
                return {room: height for height, room in enumerate(ast.literal_eval(node.value))}
            if node.targets[0].id == "FLOORS":  # before ROOMS: a dictionary of heights
                return dict(ast.literal_eval(node.value))
    return {}


def upward_imports(graph: Mapping[str, set[str]], floors: Mapping[str, int]) -> list[str]:
    pairs = [(module, name) for module, wanted in graph.items() for name in sorted(wanted)]
    return [
        f"{module} -> {name}"
        for module, name in pairs
        if floors.get(room_of(name), -1) > floors.get(room_of(module), len(floors))
    ]


def room_graph(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    rooms: dict[str, set[str]] = {room_of(module): set() for module in graph}
    for module, wanted in graph.items():
        rooms[room_of(module)] |= set(map(room_of, wanted)) - {room_of(module)}
    return rooms


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""
