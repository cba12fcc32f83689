"""Give a waiting recipe an earlier or later turn; its number stays.

lorakit queue move 5                # next
lorakit queue move 5 --before 3
"""

from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.run import queue
from lorakit.show import say


def add_arguments(parser: Parser) -> None:
    parser.number("number", "NUMBER")
    parser.number("--before", "NUMBER", "default: before all that wait", default=0)


def run(args: Arguments) -> None:
    waiting = queue.move(Path.cwd(), args.number, before=args.before)
    say("The order now:", *(f"  {item.number}: {item.recipe}" for item in waiting))
