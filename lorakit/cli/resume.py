"""Go on where a run ended, from its newest intact state.

lorakit resume                    # the latest run
lorakit resume maya
lorakit resume maya --json
lorakit resume maya --anyway      # although data, weights, settings or trainer have changed

The embedded trainer goes on byte for byte. sd-scripts restores weights, optimiser and learning
rate; what it cannot restore is said on the screen and in the record. exit codes: as for lorakit
train.
"""

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.ending import resumed
from lorakit.runs.find import find_run


def add_arguments(parser: Parser) -> None:
    parser.run()
    parser.flag("--anyway", "go on although its inputs have changed; the record says which")
    parser.json("events as JSON lines on stdout")


def run(args: Arguments) -> int:
    return resumed(find_run(args.run), as_json=args.json, anyway=args.anyway)
