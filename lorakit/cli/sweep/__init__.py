"""Sweeps: one recipe with several values of a few settings, each a recipe of its own."""

from __future__ import annotations

DEFAULT = "new"  # `lorakit sweep RECIPE --vary ...`
COMMANDS = {
    "new": ("lorakit.cli.sweep.new", "write sweeps/NAME/; what `lorakit sweep RECIPE` means"),
    "run": ("lorakit.cli.sweep.run", "train its points, here or on a cluster"),
    "status": ("lorakit.cli.sweep.status", "how far each point is"),
    "table": ("lorakit.cli.sweep.table", "settings that differ, losses, the best point"),
    "report": ("lorakit.cli.sweep.report", "the same as one self-contained page"),
}
