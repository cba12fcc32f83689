"""What a recipe and a trigger may be called: names become file and folder names, triggers become
the tail of `N_trigger`.
"""

from __future__ import annotations

import re

PORTS = {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
MAX_STEM_BYTES = 180  # of 255: -step00000000-state, a sample's date and seed, a hidden neighbour
RESERVED = {"con", "prn", "aux", "nul", *PORTS}


def name_problem(name: str) -> str:
    """What is wrong with a name, or nothing. It is a file name on every system, a folder, and the
    stem of the LoRA.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        allowed = "letters, digits, dot, dash and underscore, beginning with a letter or digit"
        return f"{name!r} cannot be a name: {allowed}."
    if name.endswith((".", ".toml", ".lock")) or name.split(".", maxsplit=1)[0].lower() in RESERVED:
        return f"{name!r} cannot be a name: some systems allow no such file, or read it otherwise."
    return "" if len(name) <= 80 else f"a name of {len(name)} letters is too long; 80 is the most."


def stem_problem(stem: str) -> str:
    """What is wrong with the stem of a LoRA's file, or nothing. Spaces and any language are fine;
    no part of a path is.
    """
    bad = " ".join(sorted(set(stem) & set('/\\:*?"<>|')))
    if bad:
        return f"{stem!r} is not a valid file name: no {bad} in it."
    if not stem.strip(".") or not stem.isprintable():
        return f"{stem!r} is not a valid file name."
    if stem.startswith((".", " ")) or stem.endswith((".", " ")):
        return f"{stem!r} is not a valid file name: no dot and no space at its ends."
    if stem.split(".", maxsplit=1)[0].lower() in RESERVED:
        return f"{stem!r} is not a valid file name: Windows keeps it for a device."
    count = len(stem.encode())
    if count > MAX_STEM_BYTES:
        return (
            f"a file name of {count} bytes is too long: {MAX_STEM_BYTES} is the most, for the"
            " files of steps and states carry it too."
        )
    return ""


def trigger_problem(trigger: str) -> str:
    """What is wrong with a trigger, or nothing. It stands in captions between commas and in a
    folder's name.
    """
    if not trigger.strip():
        return "the trigger is empty; it is the word that calls the character, such as maya_char."
    if any(letter.isspace() for letter in trigger):
        return f"{trigger!r} has spaces; a trigger is one word. Write {'_'.join(trigger.split())}."
    bad = " ".join(sorted(set(trigger) & set('/\\,:*?"<>|{}()[]')))
    if bad or not trigger.isprintable() or trigger.startswith("."):
        places = "it stands in captions and in a folder's name"
        return f"{trigger!r} cannot be a trigger: {places}, so no {bad or 'such letters'}."
    return "" if len(trigger.encode()) <= 100 else "the trigger is too long; 100 bytes is the most."
