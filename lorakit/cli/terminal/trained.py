"""The run that a command about LoRAs means: said aloud where it is not the newest one."""

from __future__ import annotations

from pathlib import Path

from lorakit.runs.find import find_run, find_trained
from lorakit.show import say


def trained_run(word: str) -> Path:
    newest, found = find_run(word), find_trained(word)
    if newest != found:
        short = "/".join(found.parts[-2:])
        say(f"{short}: the newest run with a LoRA; {newest.name} has none yet.")
    return found
