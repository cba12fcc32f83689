"""lorakit.run.commands with the trainer of tests/three_commands.py in its table."""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import three_commands

three_commands.register()
runpy.run_module("lorakit.run.commands", run_name="__main__")
