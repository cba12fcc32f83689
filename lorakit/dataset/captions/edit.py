"""Editing captions: pure text operations on what is between the commas of their first line."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.dataset.captions.read import caption_text
from lorakit.dataset.facts import DatasetFacts, SubsetFacts
from lorakit.dataset.rules import shown
from lorakit.errors import Fault, RecipeError, did_you_mean, raise_on_errors
from lorakit.files import write_atomic
from lorakit.journal import Journal, now

# Which parts a pattern's placeholders pick, by the words people and taggers use for them.
GROUPS: Mapping[str, re.Pattern[str]] = {
    name: re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    for name, words in tomllib.page(__file__, "groups.toml").items()
}
_PAGE = tomllib.page(__file__, "views.toml")
VIEWS: Mapping[str, str] = {word: view for view in _PAGE for word in _PAGE[view].split()}
PLACEHOLDERS = ("trigger", "name", "subset", "view", "sentence", *GROUPS, "rest", "caption")

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


def trigger_first(trigger: str) -> Edit:
    """The trigger goes first, once; a caption that lacks it gets it."""
    return lambda caption: joined([trigger, *_but(trigger, parts(caption))])


def add(tag: str, *, after_trigger: str = "") -> Edit:
    """Once: where it is already, else after the trigger; without a trigger last."""

    def edit(caption: str) -> str:
        items = parts(caption)
        if len(_but(tag, items)) < len(items):
            return joined(items)
        place = len(items)
        if after_trigger:
            place = int(bool(items) and items[0].casefold() == after_trigger.casefold())
        return joined([*items[:place], tag, *items[place:]])

    return edit


def remove(tag: str) -> Edit:
    return lambda caption: joined(_but(tag, parts(caption)))


def _but(tag: str, items: Iterable[str]) -> list[str]:
    return [part for part in items if part.casefold() != tag.casefold()]


def replace(old: str, new: str) -> Edit:
    """Whole words only, so that replacing `cat` leaves `category` alone."""
    found = re.compile(rf"(?<!\w){re.escape(old)}(?!\w)", re.IGNORECASE)
    return lambda caption: joined(parts(found.sub(lambda _: new, caption)))


def dedupe(caption: str) -> str:
    seen: dict[str, str] = {}
    for part in parts(caption):
        seen.setdefault(part.casefold(), part)
    return joined(seen.values())


def sort(caption: str) -> str:
    """Alphabetical after the first part: the trigger stays where it is."""
    items = parts(caption)
    return joined([*items[:1], *sorted(items[1:], key=str.casefold)])


def view_of(stem: str) -> str:
    """What a file's name says about the view: alexander_side_005."""
    words = re.split(r"[\W_\d]+", stem.casefold())
    return next((VIEWS[word] for word in words if word in VIEWS), "")


def pattern(text: str, values: Mapping[str, str]) -> Edit:
    """Parts are sorted into their places, the others are `{rest}`, empty places vanish."""
    names = re.findall(r"\{(\w+)\}", text)
    for name in names:
        if name not in PLACEHOLDERS:
            what = f"--pattern: no placeholder is called {{{name}}}."
            hint = "There are " + ", ".join(f"{{{name}}}" for name in PLACEHOLDERS) + "."
            raise RecipeError(f"{what} {did_you_mean(name, PLACEHOLDERS)}", hint=hint)
    spoken = {part.casefold() for part in parts(text) if "{" not in part}
    spoken.add(values.get("trigger", "").casefold())

    def edit(caption: str) -> str:
        taken: dict[str, list[str]] = {name: [] for name in names if name in GROUPS}
        rest: list[str] = []
        for part in parts(caption):
            if part.casefold() not in spoken:
                group = next((name for name in taken if GROUPS[name].search(part)), None)
                (taken[group] if group else rest).append(part)
        filled = {**values, **{name: joined(found) for name, found in taken.items()}}
        filled |= {"rest": joined(rest), "caption": caption}
        return joined(parts(re.sub(r"\{(\w+)\}", lambda found: filled.get(found[1], ""), text)))

    return edit


@dataclass(frozen=True)
class Request:
    """The edits that somebody asks for, done in this order."""

    replace: Sequence[tuple[str, str]] = ()
    remove: Sequence[str] = ()
    add: Sequence[str] = ()
    pattern: str = ""
    trigger_first: bool = False
    dedupe: bool = False
    sort: bool = False

    def edits(self, values: Mapping[str, str]) -> list[Edit]:
        trigger = values["trigger"]
        return [
            *(replace(old, new) for old, new in self.replace),
            *map(remove, self.remove),
            *(add(tag, after_trigger=trigger) for tag in reversed(self.add)),
            *([pattern(self.pattern, values)] if self.pattern else []),
            *([trigger_first(trigger)] if self.trigger_first else []),
            *([dedupe] if self.dedupe else []),
            *([sort] if self.sort else []),
        ]


@dataclass(frozen=True)
class Drafts:
    """What taggers say, tags and a sentence by caption file, and the pattern that joins them."""

    said: Mapping[Path, tuple[str, str]]
    pattern: str

    def edits(self, path: Path, values: Mapping[str, str]) -> list[Edit]:
        tags, sentence = self.said[path]
        return [lambda _: tags, pattern(self.pattern, {**values, "sentence": sentence})]


def requested(
    subsets: Iterable[SubsetFacts],
    suffix: str,
    request: Request,
    *,
    trigger: str = "",
    drafts: Drafts | None = None,
) -> list[Change]:
    """What the request would change; with `drafts`, only where there is one, and over it."""
    plan: list[tuple[Path, Sequence[Edit]]] = []
    for subset in subsets:
        values = {"trigger": trigger or subset.class_tokens}
        values |= {"name": subset.path.parent.name, "subset": subset.path.name}
        if not request.edits(values) and drafts is None:
            hint = "lorakit dataset caption --help lists them; --history shows past ones."
            raise RecipeError("No edit was asked for.", hint=hint)
        for path in (image.path.with_suffix(suffix) for image in subset.images):
            own = {**values, "view": view_of(path.stem)}
            if drafts is None:
                plan.append((path, request.edits(own)))
            elif path in drafts.said:
                plan.append((path, [*drafts.edits(path, own), *request.edits(own)]))
    return changes(plan)


def subsets_named(facts: DatasetFacts, names: Sequence[str]) -> list[SubsetFacts]:
    """These subsets; without a name all but the regularisation ones."""
    known = {subset.path.name: subset for subset in facts.subsets}
    for name in names:
        if name not in known:
            what = f"{facts.root}: no subset {name!r}. {did_you_mean(name, known)}"
            raise RecipeError(what, hint=f"There are {', '.join(known)}.")
    picked = [known[name] for name in names] or facts.trained
    if not picked:
        hint = "`lorakit dataset prepare` makes them from originals/."
        raise RecipeError(f"{facts.root}: no N_trigger folder with images.", hint=hint)
    return picked


def changes(captions: Iterable[tuple[Path, Sequence[Edit]]]) -> list[Change]:
    """What the edits would change. Further lines (wildcard captions) stay as they are."""
    found = []
    faults: list[Fault] = []
    for path, edits in captions:
        try:
            before = caption_text(path)
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
    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = Journal(root / ".lorakit" / "captions.jsonl")

    def apply(self, what: str, found: Sequence[Change]) -> None:
        """Log the step, then write the captions."""
        if found:
            self.record(what, found)
        for change in found:
            write_atomic(change.path, change.after + "\n")

    def record(self, what: str, found: Sequence[Change]) -> None:
        """Log a step whose captions are written already, or are about to be."""
        names = [change.path.relative_to(self.root).as_posix() for change in found]
        pairs = zip(names, found, strict=True)
        changes = [[name, change.before, change.after] for name, change in pairs]
        self._log({"what": what, "changes": changes})

    def undo(self) -> tuple[str, int, list[Fault]]:
        """Take the last step back. A caption that was edited since is left alone and named."""
        steps = self.journal.read()
        undone = {step["undoes"] for step in steps if "undoes" in step}
        left = [i for i, step in enumerate(steps) if i not in undone and "undoes" not in step]
        if not left:
            raise RecipeError(f"{self.root}: no caption step is left to undo.")
        step = steps[left[-1]]
        back: list[tuple[Path, str | None]] = []
        faults = []
        for name, before, after in step["changes"]:
            path = self.root / name
            try:
                now_there = caption_text(path)
                untouched = now_there in {before, after}
            except RecipeError:
                untouched = False  # rewritten by somebody, in another encoding
            if not untouched:
                what = "edited since; left as it is."
                faults.append(Fault(shown(path), what, "", "caption-edited", "warning"))
            elif now_there == after:
                back.append((path, before))
        self._log({"what": "undo", "undoes": left[-1], "changes": []})
        for path, before in back:
            if before is None:
                path.unlink(missing_ok=True)  # made by lorakit, and touched by nobody since
            else:
                write_atomic(path, before + "\n")
        return str(step["what"]), len(back), faults

    def _log(self, step: dict[str, Any]) -> None:
        self.journal.rewrite([*self.journal.read(), {"when": now(), **step}])
