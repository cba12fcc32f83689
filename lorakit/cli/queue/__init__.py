"""The queue: recipes that are trained one after another, across restarts of the machine."""

COMMANDS = {
    "add": "put recipes at the end",
    "list": "what waits, runs and has ended",
    "move": "change whose turn comes when",
    "remove": "take recipes out",
    "run": "train what waits, one after another",
}
