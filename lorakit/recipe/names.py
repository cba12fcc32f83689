"""What a recipe and a trigger may be called: they become names of files and folders."""

import re

from lorakit.portable import is_device


def name_problem(name: str) -> str:
    """What is wrong with it, or "": a file name on every system, and the stem of the LoRA."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        allowed = "letters, digits, dot, dash and underscore, beginning with a letter or digit"
        return f"{name!r} cannot be a name: {allowed}."
    if name.endswith((".", ".toml", ".lock")) or is_device(name):
        return f"{name!r} cannot be a name: some systems allow no such file, or read it otherwise."
    return "" if len(name) <= 80 else f"a name of {len(name)} letters is too long; 80 is the most."


def trigger_problem(trigger: str) -> str:
    """What is wrong with it, or "". It stands between commas in captions."""
    if not trigger.strip():
        return "the trigger is empty; it is the word that calls the character, such as maya_char."
    if any(letter.isspace() for letter in trigger):
        return f"{trigger!r} has spaces; a trigger is one word. Write {'_'.join(trigger.split())}."
    bad = " ".join(sorted(set(trigger) & set('/\\,:*?"<>|{}()[]')))
    if bad or not trigger.isprintable() or trigger.startswith("."):
        places = "it stands in captions and in a folder's name"
        return f"{trigger!r} cannot be a trigger: {places}, so no {bad or 'such letters'}."
    return "" if len(trigger.encode()) <= 100 else "the trigger is too long; 100 bytes is the most."
