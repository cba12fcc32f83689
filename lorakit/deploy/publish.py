"""What a LoRA is published with: its model card, its file and its pictures, gathered and shown
before anything is written; then a folder, or one commit on the hub. A real person's likeness does
not leave without recorded consent.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.deploy.deliver import Parcel, sample_prompts, usage
from lorakit.errors import LorakitError, RecipeError, SetupError, raise_on_errors, refused
from lorakit.families import FAMILIES
from lorakit.files import new_folder, sha256
from lorakit.private import without_user
from lorakit.proof.lock import lock_path, read_lock
from lorakit.recipe.document import read_document
from lorakit.recipe.resolve import read_subject
from lorakit.runs.record import Judged, Record, read_record
from lorakit.sheet.source import find_checkpoints, samples
from lorakit.weights.finite import inspect
from lorakit.weights.hub import endpoint
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
    """`parcel` was held against its record; `file` is what leaves: a copy with less in its header.
    `repo`: where it will be on the hub; `base` and `licence` are what the run may not know.
    """
    run_dir = parcel.file.parent.parent
    record, sheet = read_record(run_dir), run_dir / "sheet.png"
    subject = _subject(record)
    front, notice, notes = _front(record, base, licence)
    drawn = [(f"images/{n:02}.png", *one) for n, one in enumerate(_pictures(run_dir, parcel), 1)]
    front["widget"] = [{"text": prompt, "output": {"url": name}} for name, prompt, _ in drawn]
    files = {f"{parcel.name}.safetensors": file} | {name: path for name, _, path in drawn}
    files |= {"images/sheet.png": sheet} if sheet.is_file() else {}
    code = usage(parcel, "diffusers", Path(repo or ".") / f"{parcel.name}.safetensors")
    settings = ((key, record.value(key)) for key in _TOLD["settings"])
    template = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    card = template.format(
        front="\n".join(f"{key}: {json.dumps(one)}" for key, one in front.items() if one),
        kind="text-to-video" if FAMILIES[record.family].films else "text-to-image",
        prompt=json.dumps(record.trigger),
        parcel=parcel,
        record=record,
        weights=inspect(file),
        base=front.get("base_model", FAMILIES[record.family].title),
        usage=code.replace("BASE", front.get("base_model", "BASE")),
        subject=subject,
        sheet="![Checkpoints and strengths](images/sheet.png)" if sheet.is_file() else "",
        settings="\n".join(f"| {key} | {one} |" for key, one in settings if one is not None),
        judged=_judged(record.judged),
        lock=_lock(record),
        notice=notice,
    )
    text = re.sub(r"\n{3,}", "\n\n", card.replace(" None |", " |"))
    return Publication(without_user(text), files, tuple(notes))


def write_folder(made: Publication, target: Path) -> None:
    """All of it or nothing; a name that is taken stays whose it is."""
    with new_folder(target) as beside:
        try:
            (beside / "README.md").write_text(made.card, encoding="utf-8")
            for name, source in made.files.items():
                (beside / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(source, beside / name)
        except OSError as error:  # of where it was to go, not of a file that is only read
            error.filename, error.filename2 = str(target), None
            raise


def upload(made: Publication, repo: str, *, public: bool) -> str:
    """Where it is then: one commit into an empty repository. The token is written nowhere."""
    token, hub = os.environ.get("HF_TOKEN", "").strip(), without_user(endpoint())
    if not token:
        hint = f"Make one that may write at {hub}/settings/tokens, then export HF_TOKEN=hf_..."
        raise SetupError("HF_TOKEN is not set; nothing was sent.", hint=hint)
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.utils import disable_progress_bars, logging

    logging.set_verbosity_error()
    disable_progress_bars()
    constants.HF_HUB_DISABLE_XET = True  # as when fetching: plain HTTP, the one way that is tested
    try:
        _commit(made, repo, token, public=public)
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        if getattr(error, "filename", None):
            raise  # a file of ours
        code = str(getattr(getattr(error, "response", None), "status_code", ""))
        other = f"the hub answered {code}." if code else f"the connection to {hub} broke."
        what = f"{repo}: {_TOLD['refusals'].get(code, other)} Nothing was published."
        raise SetupError(what, hint="With the cause gone, the same command begins again.") from None
    return f"{hub}/{repo}"


def _commit(made: Publication, repo: str, token: str, *, public: bool) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi(endpoint=endpoint(), token=token)
    try:
        found = api.model_info(repo)
    except RepositoryNotFoundError:
        api.create_repo(repo, private=not public)
        found = api.model_info(repo)
    held = sorted({one.rfilename for one in found.siblings or ()} - {".gitattributes"})
    if held or bool(found.private) is public:
        reader = "you alone read" if found.private else "everybody reads"
        what = f"{repo} is taken: {reader} it, and it holds {held[0] if held else 'nothing'}"
        raise RecipeError(f"{what}; nothing was sent.", hint="Give the name of a new one: --repo.")
    files: dict[str, Any] = {"README.md": made.card.encode(), **made.files}
    parts = [CommitOperationAdd(name, content) for name, content in files.items()]
    api.create_commit(repo, parts, commit_message="By lorakit", parent_commit=found.sha)


def _subject(record: Record) -> str:
    """For the card. As the recipe has it today, if it is there: consent may come later, or go."""
    recipe, subject = Path(record.root) / record.recipe, record.subject
    if recipe.is_file():
        subject, faults = read_subject(read_document(recipe, record.recipe))
        raise_on_errors(faults)
    where, consent = f"{record.recipe} [subject]", subject.consent
    person = subject.real_person or subject.kind == "person"
    scope = consent.scope if consent else ""
    if not subject.kind and not person:
        what = "does not say what the pictures show, and a person may be in them."
        raise refused(where, what, 'Say it: kind = "character" (or person, animal, style ...).')
    if person and (DECLINES.search(scope) or not AGREES.search(scope)):
        what = f"the consent is for {scope!r}, which is not publishing."
        what = what if scope else "shows a real person, and no consent is recorded."
        raise refused(where, what, f"{_TOLD['consent']} docs/publish.md says why.")
    agreed = f"A real person, who agreed on {consent.date} to: {scope}" if consent else ""
    said = (agreed if person else "") or subject.kind.capitalize()
    return f"{said}. Pictures: {subject.sentence}." if subject.sentence else f"{said}."


def _pictures(run_dir: Path, parcel: Parcel) -> list[tuple[str, Path]]:
    """What the training drew with that checkpoint, else with the last one: prompt and file."""
    record, output = read_record(run_dir), parcel.file.parent
    found = samples(output / "sample", record.output_name)
    points = find_checkpoints(output, record.output_name)
    label = next((one.label for one in points if one.path == parcel.file), "")
    drawn = [one for one in found if one[1] == label]
    drawn = drawn or [one for one in found if one[0] == found[-1][0]]
    prompts = dict(enumerate(sample_prompts(run_dir)))
    return [(prompts.get(at, record.trigger), path) for *_, at, path in drawn[:MOST_PICTURES]]


def _front(record: Record, base: str, licence: str) -> tuple[dict[str, Any], str, list[str]]:
    """The base and its licence, in the hub's words; a notice; what is left for the user to say."""
    used = next((one for one in record.weights if one.key == "base"), None)
    asked = read_reference(used.reference or used.asked) if used else None
    repo, notes = base or (asked.repo if asked else ""), list[str]()
    related = [one for one in _TOLD["base"] if one["family"] == record.family]
    known = [one for one in related if one["repo"] == repo]
    terms = {"license": licence} if licence else dict(*known[:1])
    if not terms and len(related) == 1:
        terms = dict(related[0])
        notes.append(f"licence {terms['license']}, as {terms['repo']}; if yours differs: --licence")
    if not repo:
        notes.append("the base was a file of yours, so the card names none: --base OWNER/REPO")
    if not terms:
        notes.append("the base's licence is not known, so the card names none: --licence ID")
    front = {key: one for key, one in terms.items() if key.startswith("license")}
    front |= {"base_model": repo, "base_model_relation": "adapter"} if repo else {}
    return front, terms.get("notice", ""), notes


def _judged(found: Judged) -> str:
    """The cells that the judge did not tell apart from the best."""
    rows = "\n".join(
        f"| {one.label} | {one.strength:g} | {one.held or 0:+.3f} | {one.drift or 0:.4f} |"
        for one in found.listed
    )
    return str(_TOLD["judged"]).format(found=found, rows=rows) if rows else ""


def _lock(record: Record) -> str:
    """Of the recipe's lock, where it is the one of this training."""
    path = lock_path(Path(record.root) / record.recipe)
    with suppress(LorakitError):
        if read_lock(path).get("dataset", {}).get("digest") == record.dataset.digest:
            return sha256(path)
    return "none"
