"""The queue: recipes that are trained one after another, across restarts of the machine."""

from __future__ import annotations

COMMANDS = {
    "add": ("lorakit.cli.queue.add", "put recipes at the end"),
    "list": ("lorakit.cli.queue.list", "what waits, runs and has ended"),
    "move": ("lorakit.cli.queue.move", "change whose turn comes when"),
    "remove": ("lorakit.cli.queue.remove", "take recipes out"),
    "run": ("lorakit.cli.queue.run", "train what waits, one after another"),
}
