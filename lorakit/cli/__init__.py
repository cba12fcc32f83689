"""The command line: one small module for each command, of its name."""

from __future__ import annotations

# What each does, in the order in which a newcomer meets them.
COMMANDS = {
    "doctor": "what this machine has and lacks, and the remedy",
    "presets": "what exists, for which machine, where the numbers come from",
    "new": "a recipe and an empty dataset folder",
    "dataset": "add, check, prepare, layout, caption, review, rank, select, bundle, stats, diff",
    "plan": "everything that would happen; nothing is started",
    "rehearse": "the same plan, a few steps, on stand-in weights",
    "train": "run one recipe, or several one after another",
    "runs": "every run and its state",
    "watch": "follow a run live from another terminal",
    "log": "what a run printed",
    "stop": "end a run in good order",
    "resume": "go on where a run ended",
    "explain": "why a run failed, the evidence, the remedy",
    "queue": "recipes that wait for their turn",
    "sweep": "one recipe with several values: a folder of recipes, one table",
    "lock": "pin everything a recipe's result depends on",
    "verify": "hash again and name every difference",
    "diff": "two runs side by side",
    "registry": "the table of LoRAs and where each came from",
    "note": "write a rating or a remark to a run",
    "report": "one self-contained page about a run",
    "judge": "which checkpoint, which strength, how surely",
    "sheet": "a grid of pictures: checkpoint x strength x prompt",
    "deploy": "put a LoRA where A1111, ComfyUI or diffusers looks",
    "undeploy": "take it away from there again",
    "import": "a recipe of somebody's config, command or LoRA",
    "export": "a folder that trains a recipe without lorakit",
    "inspect": "what a LoRA file is, and what its numbers say",
    "convert": "a LoRA in kohya's, diffusers' or ComfyUI's names",
    "resize": "a LoRA at a lower rank, and what is lost",
    "merge": "LoRAs into one, or into a base model",
    "strip": "a LoRA without its private metadata",
}
