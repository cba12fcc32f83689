"""From a folder of photos to subsets that train."""

from __future__ import annotations

from collections.abc import Mapping

# name: (module, what it does), in the order of the work
COMMANDS: Mapping[str, tuple[str, str]] = {
    "add": ("lorakit.cli.dataset.add", "copy photos into originals/; says what it refused and why"),
    "check": ("lorakit.cli.dataset.check", "every fault at once, each with its file and remedy"),
    "prepare": (
        "lorakit.cli.dataset.prepare",
        "originals to N_trigger folders: oriented, converted, fitted",
    ),
    "drop": ("lorakit.cli.dataset.drop", "leave pictures out of training, and take them back"),
    "layout": ("lorakit.cli.dataset.layout", "repeats, subsets, reg folders, dataset TOML"),
    "caption": (
        "lorakit.cli.dataset.caption",
        "write and correct captions, previewed and undoable",
    ),
    "review": ("lorakit.cli.dataset.review", "a local page to look at every image and its caption"),
    "rank": ("lorakit.cli.dataset.rank", "a technical score for every image"),
    "select": ("lorakit.cli.dataset.select", "the best balanced set as a new version"),
    "bundle": (
        "lorakit.cli.dataset.bundle",
        "one deterministic zip, and its verification elsewhere",
    ),
    "stats": ("lorakit.cli.dataset.stats", "counts, sizes, tags, token lengths, weights, buckets"),
    "diff": ("lorakit.cli.dataset.diff", "what differs between two versions of a dataset"),
}
