"""Names that every system can hold: of one file, of a path inside an archive; and what a recipe
and a trigger may be called, which become names of files and folders.
"""

import re
import unicodedata
from pathlib import PurePosixPath

MAX_BYTES = 255  # of one file's name
MAX_STEM_BYTES = 180  # of them: -step00000000-state, a sample's date and seed, a hidden neighbour
PORTS = {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
RESERVED = {"con", "prn", "aux", "nul", *PORTS}
NO_FILE = "is not a valid file name"


def is_device(name: str) -> bool:
    """Windows takes con, nul.txt and the like for a device, whatever stands after the dot."""
    return name.split(".", maxsplit=1)[0].strip().lower() in RESERVED


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


def stem_problem(stem: str) -> str:
    """What is wrong with the stem of a LoRA's file, or nothing. Spaces and any language are fine;
    no part of a path is.
    """
    bad = " ".join(sorted(set(stem) & set('/\\:*?"<>|')))
    if bad:
        return f"{stem!r} {NO_FILE}: no {bad} in it."
    if not stem.strip(".") or not stem.isprintable():
        return f"{stem!r} {NO_FILE}."
    if stem.startswith((".", " ")) or stem.endswith((".", " ")):
        return f"{stem!r} {NO_FILE}: no dot and no space at its ends."
    if is_device(stem):
        return f"{stem!r} {NO_FILE}: Windows keeps it for a device."
    count = len(stem.encode())
    if count > MAX_STEM_BYTES:
        return (
            f"a file name of {count} bytes is too long: {MAX_STEM_BYTES} is the most, for the"
            " files of steps and states carry it too."
        )
    return ""


def leads_out(name: str) -> bool:
    """Whether a path inside an archive, as any system reads it, is none below the target."""
    path = PurePosixPath(name.replace("\\", "/"))
    away = path.is_absolute() or ".." in path.parts or name[1:2] == ":"
    return away or not path.parts or "\0" in name


def path_problem(name: str) -> str:
    """What is wrong with a path inside an archive that leads nowhere else, or nothing. It must be
    spelt in the one plain way, so that two names are never one file.
    """
    if name != PurePosixPath(name).as_posix() or "\\" in name:
        return "is not written as a plain path."
    parts = name.split("/")
    if not name.isprintable() or ":" in name:
        return "holds letters that no name should."
    if any(part.endswith((".", " ")) for part in parts):
        return "ends in a dot or a space, which Windows drops."
    if any(map(is_device, parts)):
        return "is a device on Windows."
    if max(len(part.encode()) for part in parts) > MAX_BYTES:
        return f"is too long: {MAX_BYTES} bytes is the most."
    return ""


def folded(name: str) -> str:
    """Equal for two paths that are one file on some system."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
