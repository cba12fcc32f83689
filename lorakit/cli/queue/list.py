"""What waits, runs and has ended.

lorakit queue list
lorakit queue list --json
"""

from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.run import queue
from lorakit.show import print_json, say, table


def add_arguments(parser: Parser) -> None:
    parser.json()


def run(args: Arguments) -> None:
    items = queue.listed(Path.cwd())
    if args.json:
        print_json([vars(item) for item in items])
    elif not items:
        say("The queue is empty. lorakit queue add RECIPE fills it.")
    else:
        columns = ("number", "recipe", "state", "settings", "run")
        table(columns, map(_row, items), right=("number",))


def _row(item: queue.Waiting) -> tuple[object, ...]:
    settings = " ".join([*item.sets, *(f"-{key}" for key in item.unsets)])
    return item.number, item.recipe, item.state, settings or "-", item.run or "-"
