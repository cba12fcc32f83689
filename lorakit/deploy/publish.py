"""What a LoRA is published with: its model card, its file and its pictures, gathered and shown
before anything is written. A real person's likeness does not leave without recorded consent.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from lorakit import tomllib
from lorakit.deploy.deliver import Parcel, usage
from lorakit.errors import LorakitError, counted, raise_on_errors, refused
from lorakit.families import FAMILIES
from lorakit.files import new_folder, sha256
from lorakit.private import without_user
from lorakit.proof.lock import lock_path, read_lock
from lorakit.recipe.document import read_document
from lorakit.recipe.subject import read_subject
from lorakit.runs.record import Judged, Record, read_record
from lorakit.sheet.source import SheetRow, read_source, samples
from lorakit.weights.finite import inspect
from lorakit.weights.reference import read_reference

_TOLD = tomllib.page(__file__, "card.toml")
MOST_PICTURES = 6
AGREES = re.compile(r"\bpubli(?:sh|c)", re.IGNORECASE)
DECLINES = re.compile(r"\b(?:no|not|never|without)\b[^,;.]*\bpubli", re.IGNORECASE)


@dataclass(frozen=True)
class Publication:
    card: str
    files: Mapping[str, Path]  # beside it, by name
    notes: tuple[str, ...]  # what the card could not say, and the way to make it


def prepare_publication(
    parcel: Parcel, file: Path, *, repo: str, base: str, licence: str
) -> Publication:
    """`parcel` was held against its record; `file` is what leaves: it, or a copy with less in its
    header. `repo`: where it will be on the hub; `base` and `licence` are what the run may not know.
    """
    run_dir = parcel.file.parent.parent
    record, weights = read_record(run_dir), inspect(file)
    shown = _subject(record)
    front, notice, notes = _front(record, base, licence)
    pictures = {f"images/{n:02}.png": one for n, one in enumerate(_pictures(run_dir, parcel), 1)}
    front["widget"] = [
        {"text": prompt, "output": {"url": name}} for name, (prompt, _) in pictures.items()
    ]
    files = {f"{parcel.name}.safetensors": file}
    files |= {name: path for name, (_, path) in pictures.items()}
    if (sheet := run_dir / "sheet.png").is_file():
        files["images/sheet.png"] = sheet
    origin = {
        "steps": weights.steps or record.outcome.step,
        "pictures": record.dataset.images,
        "trainer": f"{record.trainer.name} {record.trainer.commit or ''}",
        "lorakit": record.lorakit,
        "sha256 of the file": weights.sha256,
        "sha256 of its tensors": weights.tensors_sha256,
        "sha256 of the lock": _lock(record),
    }
    code = usage(parcel, "diffusers", Path(repo or ".") / f"{parcel.name}.safetensors")
    template = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    card = Template(template).substitute(
        front="\n".join(f"{key}: {json.dumps(one)}" for key, one in front.items() if one),
        name=parcel.name,
        base=front["base_model"] or FAMILIES[record.family].title,
        trigger=record.trigger,
        strength=f"{parcel.strength:g}",
        usage=code.replace("BASE", front["base_model"] or "BASE"),
        subject=shown,
        sheet="\n![Checkpoints and strengths](images/sheet.png)\n" if sheet.is_file() else "",
        settings=_rows((key, record.value(key)) for key in _TOLD["settings"]),
        judged=_judged(record.judged),
        origin=_rows(origin.items()),
        notice=notice,
    )
    if "ss_tag_frequency" in weights.metadata:
        notes += ("the file's header holds the words of your captions; --strip leaves them out",)
    return Publication(without_user(card), files, notes)


def write_folder(publication: Publication, target: Path) -> None:
    """All of it or nothing; a name that is taken stays whose it is."""
    with new_folder(target) as beside:
        try:
            (beside / "README.md").write_text(publication.card, encoding="utf-8")
            for name, source in publication.files.items():
                (beside / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(source, beside / name)
        except OSError as error:  # of where it was to go, not of a file that is only read
            error.filename, error.filename2 = str(target), None
            raise


def _subject(record: Record) -> str:
    """A sentence for the card. As the recipe has it today, if it is there: consent may come later,
    or go.
    """
    recipe, subject = Path(record.root) / record.recipe, record.subject
    if recipe.is_file():
        subject, faults = read_subject(read_document(recipe, record.recipe))
        raise_on_errors(faults)
    where, consent = f"{record.recipe} [subject]", subject.consent
    person = subject.real_person or subject.kind == "person"
    if not subject.kind and not person:
        what = "does not say what the pictures show, and a person may be in them."
        raise refused(where, what, 'Say it: kind = "character" (or person, animal, style ...).')
    said = subject.kind.capitalize()
    if person and consent is None:
        like = 'consent = { by = "Maya Lind", date = 2026-11-28, scope = "training, publishing" }'
        what = "shows a real person, and no consent is recorded."
        raise refused(where, what, f"{like}; docs/publish.md says why.")
    if person and consent:
        if DECLINES.search(consent.scope) or not AGREES.search(consent.scope):
            what = f"the consent is for {consent.scope!r}, which is not publishing."
            raise refused(where, what, "Ask, and record the answer; docs/publish.md says why.")
        said = f"A real person, who agreed on {consent.date} to: {consent.scope}"
    return f"{said}. Pictures: {subject.sentence}." if subject.sentence else f"{said}."


def _pictures(run_dir: Path, parcel: Parcel) -> list[tuple[str, Path]]:
    """What the training drew with that checkpoint, else with the last one: prompt and file."""
    record, rows = read_record(run_dir), tuple[SheetRow, ...]()
    found = samples(parcel.file.parent / "sample", record.output_name)
    with suppress(LorakitError):
        rows = read_source(run_dir).rows
    saved = [one for one in record.checkpoints if Path(one.path).name == parcel.file.name]
    counts = {count for count, *_ in found}
    last = max(counts & {n for one in saved for n in (one.step, one.epoch)} or counts, default=0)
    drawn = [(prompt, path) for count, _, prompt, path in found if count == last]
    said = [(rows[at].prompt if at < len(rows) else record.trigger, path) for at, path in drawn]
    return said[:MOST_PICTURES]


def _front(record: Record, base: str, licence: str) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """The card's front matter, in the hub's words; the notice that the base's licence wants; and
    what is left for the user to say.
    """
    used = next((one for one in record.weights if one.key == "base"), None)
    asked = read_reference(used.reference or used.asked) if used else None
    repo, notes = base or (asked.repo if asked else ""), list[str]()
    related = [one for one in _TOLD["base"] if one["family"] == record.family]
    known = [one for one in related if one["repo"] == repo]
    if not known and len(related) == 1:
        known = related
        of = f"licence {known[0]['license']}: that of {known[0]['repo']}, which your base is"
        notes += [] if licence else [f"{of} taken to be made from; else say --licence ID"]
    if not repo:
        notes.append("the base was a file of yours, so the card names none: --base OWNER/REPO")
    if not known and not licence:
        notes.append("the base's licence is not known, so the card names none: --licence ID")
    terms = {"license": licence} if licence else dict(known[0]) if known else {}
    kind = "text-to-video" if FAMILIES[record.family].films else "text-to-image"
    return (
        {
            **{key: one for key, one in terms.items() if key.startswith("license")},
            "base_model": repo,
            "base_model_relation": "adapter" if repo else "",
            "library_name": "diffusers",
            "pipeline_tag": kind,
            "instance_prompt": record.trigger,
            "tags": [kind, "lora", "diffusers", "template:sd-lora", record.family],
        },
        terms.get("notice", ""),
        tuple(notes),
    )


def _judged(found: Judged) -> str:
    """The cells that the judge did not tell apart from the best."""
    if not found.listed:
        return ""
    rows = "\n".join(
        f"| {one.label} | {one.strength:g} | {one.held or 0:+.3f} | {one.drift or 0:.4f} |"
        for one in found.listed
    )
    held = counted(found.held_out, "held-out picture")
    return str(_TOLD["judged"].format(held=held, cells=len(found.cells), rows=rows))


def _lock(record: Record) -> str:
    """Of the recipe's lock, where it is the one of this training."""
    path = lock_path(Path(record.root) / record.recipe)
    with suppress(LorakitError):
        same = read_lock(path).get("dataset", {}).get("digest") == record.dataset.digest
        return sha256(path) if same else ""
    return ""


def _rows(pairs: Iterable[tuple[str, Any]]) -> str:
    return "\n".join(f"| {key} | {one} |" for key, one in pairs if one not in (None, ""))
