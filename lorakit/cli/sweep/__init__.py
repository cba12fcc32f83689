"""Sweeps: one recipe with several values of a few settings, each a recipe of its own."""

DEFAULT = "new"  # `lorakit sweep RECIPE --vary ...`
COMMANDS = {
    "new": "write sweeps/NAME/; what `lorakit sweep RECIPE` means",
    "run": "train its points, here or on a cluster",
    "status": "how far each point is",
    "table": "settings that differ, losses, the best point",
    "report": "the same as one self-contained page",
}
