"""What the kohya scripts assert, forbid or silently ignore, as far as settings and the machine
alone decide it.

Each rule has a name, the setting it speaks about, and the remedy. options.toml has those that are
about one option or two; the modules have the conditions that need more. Names, types and choices of
options are checked before (catalogue); rules about images and captions live with the dataset.
They read and start nothing, except that network.py asks the trainer's Python.
"""

from lorakit import tomllib
from lorakit.trainers.kohya.rules import captions, launch, learning, model, network
from lorakit.trainers.rule import Finder, rules_of

RULES: tuple[Finder, ...] = (
    *rules_of(tomllib.page(__file__, "options.toml")["rule"]),
    *(*captions.RULES, *launch.RULES, *learning.RULES),
    *(*model.RULES, *network.RULES),
)
