"""The words of a recipe outside [train]: words.toml and, for [model], the families' weights."""

from collections.abc import Mapping
from dataclasses import replace

from lorakit import tomllib
from lorakit.catalogue.options import Option, option_of
from lorakit.families import FAMILIES

SECTIONS = ("model", "dataset", "train", "sample", "launch")
TOP = (
    *("preset", "family", "trainer", "name", "trigger", "unset", "notes", "subject"),
    *SECTIONS,
    "stage",
)
PRESET_TOP = ("about", "extends", "trainer", "unset", *SECTIONS)
ABOUT = ("title", "family", "purpose", "machine", "cost", "origin")
PROPOSED = ("repeats", "fit")  # what `dataset add` and `prepare` are best called with
STAGE = ("name", "model", "dataset", "train")
TRAINERS = tuple(dict.fromkeys(name for one in FAMILIES.values() for name in one.trainers))
SHARED_WORDS = frozenset({"seed"})  # the one word that means its own thing in two sections

_PAGE = tomllib.page(__file__, "words.toml")
MEANT: Mapping[str, str] = _PAGE.pop("meant")
_HOMES: dict[str, str] = _PAGE.pop("written_by_us")
_WORDS: dict[str, dict[str, Option]] = {
    section: {
        name: option_of(name, {"type": one} if isinstance(one, str) else one)
        for name, one in words.items()
    }
    for section, words in _PAGE.items()
}
FILMS, CONTROLS, SUBJECT = _WORDS["films"], _WORDS["controls"], _WORDS["subject"]
_WORDS["dataset"] |= {**FILMS, **CONTROLS}
_WORDS["subset"] |= {**FILMS, **CONTROLS}
SUBSET = _WORDS["subset"]
_TRAINER = replace(_WORDS["top"]["trainer"], choices=TRAINERS)
TOP_WORDS: Mapping[str, Option] = {**_WORDS["top"], "trainer": _TRAINER}

# Options that lorakit writes itself: where to say it instead.
WRITTEN_BY_US: Mapping[str, str] = {
    weight.option: f"[model] {weight.key}"
    for family in FAMILIES.values()
    for weight in family.weights
    if weight.key != "base"
} | _HOMES


def words_of(section: str, family: str = "", trainer: str = "") -> Mapping[str, Option]:
    """The keys of a section other than [train]; [model] has the family's, or all without one."""
    if section != "model":
        return _WORDS[section]
    families = [FAMILIES[family].by(trainer)] if family in FAMILIES else FAMILIES.values()
    what: dict[str, dict[str, None]] = {}
    for weight in (weight for one in families for weight in one.weights):
        what.setdefault(weight.key, {})[weight.what] = None
    files = {key: Option(key, "str", help="; ".join(said)) for key, said in what.items()}
    return {**files, **_WORDS["model"]}


def above(key: str) -> str:
    """TOML's trap: a top-level word below a [section] belongs to that section."""
    top = {*TOP, *PRESET_TOP} - {*SECTIONS, "about", "stage", "subject"}
    return f"{key} stands above the first [section]." if key in top else ""


def home_of(key: str) -> str:
    """The section (not [train]) in which a key is known, or nothing."""
    homes = (name for name in SECTIONS if name != "train" and key in words_of(name))
    return next(homes, "")
