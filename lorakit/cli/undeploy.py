"""Take back what `lorakit deploy` put into a program's folder.

lorakit undeploy maya
lorakit undeploy maya --to comfyui

Removed is what lorakit wrote there, unless somebody has changed it since; a LoRA that --replace had
put aside gets its name back. The run keeps its LoRA.
"""

from lorakit.cli.terminal.arguments import A_RUN, Arguments, Parser
from lorakit.deploy.deliver import FOLDERS, take_back
from lorakit.runs.find import find_run
from lorakit.show import say


def add_arguments(parser: Parser) -> None:
    parser.value("run", "RUN", A_RUN)
    parser.choice("--to", FOLDERS, "only from there")


def run(args: Arguments) -> None:
    run_dir = find_run(args.run)
    say(*take_back(run_dir.parents[2], "/".join(run_dir.parts[-2:]), args.to))
