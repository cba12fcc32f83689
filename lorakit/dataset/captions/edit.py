"""Editing captions: pure text operations on comma-separated parts, and a history that can take
every step back.

A caption is its first line, as kohya reads it. Parts are what stands between commas; the order is
the author's until asked otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from lorakit.dataset.rules import shown
from lorakit.errors import Fault, RecipeError, did_you_mean, raise_on_errors, refused
from lorakit.files import write_atomic

# Which parts a pattern's placeholders pick, by the words people and taggers use for them.
GROUPS: Mapping[str, re.Pattern[str]] = {
    name: re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    for name, words in {
        "shot": (
            r"close[- ]?up|portrait|head ?shot|bust|upper body|cowboy shot|half body|full body|wide"
            r" shot|medium shot|profile|from \w+"
        ),
        "pose": (
            r"standing|sitting|lying|walking|running|jumping|kneeling|dancing|waving|leaning|looking"
            r" [\w ]+|crossed arms|pose|posing"
        ),
        "light": (
            r"light|lighting|lit|sunlight|sunset|golden"
            r" hour|backlit|shadows?|overcast|neon|candle\w*"
        ),
        "setting": (
            r"background|indoors?|outdoors?|street|forest|beach|room|kitchen|garden|park|city|sky|studio|field|mountains?|wall"
        ),
        "clothing": (
            r"wearing|shirt|dress|jacket|coat|jeans|trousers|skirt|hat|cap|boots|shoes|suit|sweater|hoodie|scarf|gloves|uniform"
        ),
        "expression": (
            r"smil\w+|grin\w*|laugh\w*|frown\w*|serious|neutral expression|surprised|eyes"
            r" closed|open mouth|angry|sad|happy"
        ),
        "style": (
            r"photo\w*|render|3d|anime|sketch|painting|watercolou?r|illustration|cinematic|style"
        ),
    }.items()
}
PLACEHOLDERS = ("trigger", "name", "subset", *GROUPS, "rest", "caption")

Edit = Callable[[str], str]


@dataclass(frozen=True)
class Change:
    path: Path
    before: str | None  # None: there was no caption file
    after: str


def parts(caption: str) -> list[str]:
    return [part.strip() for part in caption.split(",") if part.strip()]


def joined(items: Iterable[str]) -> str:
    return ", ".join(items)


def given(text: str) -> Edit:
    """Whatever stood there, this stands there now."""
    return lambda _: text


def trigger_first(trigger: str) -> Edit:
    """The trigger stands first, once; a caption that lacks it gets it."""

    def edit(caption: str) -> str:
        return joined(
            [trigger, *(part for part in parts(caption) if part.casefold() != trigger.casefold())]
        )

    return edit


def add(tag: str, *, after_trigger: str = "") -> Edit:
    """The tag once: where it stands already, else after the trigger, or first where that is still
    to come; without a trigger last.
    """

    def edit(caption: str) -> str:
        items = parts(caption)
        if tag.casefold() in (part.casefold() for part in items):
            return joined(items)
        place = (
            int(bool(items) and items[0].casefold() == after_trigger.casefold())
            if after_trigger
            else len(items)
        )
        return joined([*items[:place], tag, *items[place:]])

    return edit


def remove(tag: str) -> Edit:
    def edit(caption: str) -> str:
        return joined(part for part in parts(caption) if part.casefold() != tag.casefold())

    return edit


def replace(old: str, new: str) -> Edit:
    """Whole words only, so that replacing `cat` leaves `category` alone."""
    pattern = re.compile(rf"(?<!\w){re.escape(old)}(?!\w)", re.IGNORECASE)

    def edit(caption: str) -> str:
        return joined(parts(pattern.sub(lambda _: new, caption)))

    return edit


def dedupe(caption: str) -> str:
    seen: dict[str, str] = {}
    for part in parts(caption):
        seen.setdefault(part.casefold(), part)
    return joined(seen.values())


def sort(caption: str, *, keep: int = 1) -> str:
    """Alphabetical after the first `keep` parts: the trigger stays where it is."""
    items = parts(caption)
    return joined([*items[:keep], *sorted(items[keep:], key=str.casefold)])


def pattern(text: str, values: Mapping[str, str]) -> Edit:
    """`{trigger}, {shot}, {rest}`: parts are sorted into their places, what no place asks for is
    `{rest}`, empty places vanish.
    """
    names = re.findall(r"\{(\w+)\}", text)
    for name in names:
        if name not in PLACEHOLDERS:
            raise RecipeError(
                f"--pattern: no placeholder is called {{{name}}}."
                f" {did_you_mean(name, PLACEHOLDERS)}",
                hint="There are " + ", ".join(f"{{{name}}}" for name in PLACEHOLDERS) + ".",
            )
    literal = {part.casefold() for part in parts(text) if "{" not in part}

    def edit(caption: str) -> str:
        taken: dict[str, list[str]] = {name: [] for name in names if name in GROUPS}
        rest: list[str] = []
        for part in parts(caption):
            if (
                part.casefold() in literal
                or part.casefold() == values.get("trigger", "").casefold()
            ):
                continue
            group = next((name for name in taken if GROUPS[name].search(part)), None)
            (taken[group] if group else rest).append(part)
        filled = {
            **values,
            **{name: joined(found) for name, found in taken.items()},
            "rest": joined(rest),
            "caption": caption,
        }
        return joined(parts(re.sub(r"\{(\w+)\}", lambda found: filled.get(found[1], ""), text)))

    return edit


def read_caption(path: Path) -> str | None:
    """The caption as text; None where there is no file. Bytes that are not UTF-8 are told, never
    guessed.
    """
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 ({error.reason} at byte {error.start})."
        raise refused(shown(path), what, "Save it as UTF-8 and run this again.") from error


def changes(captions: Iterable[tuple[Path, Sequence[Edit]]]) -> list[Change]:
    """What the edits would change, and only that. A person's further lines (wildcard captions)
    stay as they are.
    """
    found = []
    faults: list[Fault] = []
    for path, edits in captions:
        try:
            before = read_caption(path)
        except RecipeError as error:
            faults += error.faults
            continue
        first, newline, more = (before or "").partition("\n")
        for edit in edits:
            first = edit(first)
        after = first + newline + more
        if after != (before or ""):
            found.append(Change(path, before, after))
    raise_on_errors(faults)
    return found


class History:
    """Every change of captions, one JSON line a step, in the dataset's own `.lorakit` folder.
    Written before the captions are.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / ".lorakit" / "captions.jsonl"

    def steps(self) -> list[dict[str, object]]:
        try:
            lines = self.path.read_text(encoding="utf-8").split(
                "\n"
            )  # splitlines() would cut inside captions, at U+2028
        except FileNotFoundError:
            return []
        return [
            json.loads(line) for line in lines if line.endswith("}")
        ]  # a line cut by a crash was never acted on

    def apply(self, what: str, found: Sequence[Change]) -> None:
        """Log the step, then write the captions."""
        if found:
            self.record(what, found)
        for change in found:
            write_atomic(change.path, change.after + "\n")

    def record(self, what: str, found: Sequence[Change]) -> None:
        """Log a step whose captions are written already, or are about to be."""
        self._log(
            {
                "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "what": what,
                "changes": [
                    [self._name(change.path), change.before, change.after] for change in found
                ],
            }
        )

    def undo(self) -> tuple[str, int, list[Fault]]:
        """Take the last step back. A caption that was edited since is left alone and named."""
        steps = self.steps()
        undone = {step["undoes"] for step in steps if "undoes" in step}
        number = max(
            (i for i, step in enumerate(steps) if i not in undone and "undoes" not in step),
            default=None,
        )
        if number is None:
            raise RecipeError(f"{self.root}: no caption step is left to undo.")
        back, faults = self._reversed(steps[number])
        self._log(
            {
                "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "what": "undo",
                "undoes": number,
                "changes": [],
            }
        )
        for path, before in back:
            if before is None:
                path.unlink(
                    missing_ok=True
                )  # lorakit made this file, and nobody has touched it since
            else:
                write_atomic(path, before + "\n")
        return str(steps[number]["what"]), len(back), faults

    def _reversed(
        self, step: Mapping[str, object]
    ) -> tuple[list[tuple[Path, str | None]], list[Fault]]:
        back: list[tuple[Path, str | None]] = []
        faults = []
        for name, before, after in step["changes"]:  # type: ignore[attr-defined]
            path = self.root / name
            try:
                now = read_caption(path)
                untouched = now in {before, after}
            except RecipeError:
                untouched = False  # written anew by somebody, in an encoding of theirs
            if untouched and now == after:
                back.append((path, before))
            elif not untouched:
                faults.append(
                    Fault(
                        shown(path),
                        "edited since; left as it is.",
                        rule="caption-edited",
                        severity="warning",
                    )
                )
        return back, faults

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _log(self, step: Mapping[str, object]) -> None:
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        if text and not text.endswith("\n"):
            text = text.rpartition("\n")[0] + "\n" if "\n" in text else ""
        write_atomic(self.path, text + json.dumps(step) + "\n")
