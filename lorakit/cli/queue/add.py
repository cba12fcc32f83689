"""Put recipes at the end of the queue.

lorakit queue add recipes/maya.toml recipes/finn.toml
lorakit queue add recipes/maya.toml --set learning_rate=5e-5

Each is planned first: what cannot start is refused now, not in the night.
"""

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.train import put_into_queue


def add_arguments(parser: Parser) -> None:
    parser.recipes()


def run(args: Arguments) -> None:
    put_into_queue(args.recipes, args.sets, args.unsets)
