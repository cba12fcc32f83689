"""Take recipes out of the queue; their runs stay.

lorakit queue remove 3 4
lorakit queue remove --ended
"""

from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.run import queue
from lorakit.show import say


def add_arguments(parser: Parser) -> None:
    parser.number("numbers", "NUMBER", nargs="*")
    parser.flag("--ended", "everything that has ended")


def run(args: Arguments) -> int:
    if not args.numbers and not args.ended:
        say("Which? lorakit queue list shows the numbers; --ended takes everything that has ended.")
        return 2
    if args.ended:
        say(f"{queue.clear_ended(Path.cwd())} removed.")
    for item in queue.remove(Path.cwd(), args.numbers):
        say(f"removed {item.number}: {item.recipe}")
    return 0
