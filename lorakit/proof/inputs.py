"""May a run go on? Only from what it began with; else it becomes another training."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lorakit.dataset.scan import scan
from lorakit.dataset.stated import Stated
from lorakit.errors import Fault, RecipeError, counted
from lorakit.families import FAMILIES
from lorakit.proof.compare import Difference, differences
from lorakit.proof.lock import DECISIVE
from lorakit.proof.verify import verify_inputs
from lorakit.runs.find import run_name
from lorakit.runs.images import LIST, read_images
from lorakit.runs.record import NAME, WAITING, Record, read_record
from lorakit.trainers.checkout import packages_of
from lorakit.trainers.table import trainer


def require_same_inputs(run_dir: Path, anyway: bool = False) -> list[str]:
    """What is not as the run began with, for its record. Raises for it, unless `anyway`."""
    record = _with_known_hashes(run_dir, read_record(run_dir))
    found = [*verify_inputs(run_dir, record), *_new_images(run_dir, record), *_code(record)]
    if found and not anyway:
        name = run_name(run_dir)
        raise RecipeError(
            f"{counted(len(found), 'difference')} from what {name} began with; nothing was"
            " started.",
            faults=[Fault(name, f"{one}.", rule="inputs") for one in found],
            hint=(
                "Restore the old inputs, or go on with these, which the record will say: lorakit"
                f" resume {name} --anyway"
            ),
        )
    return [*map(str, found), *_circumstances(record), *_unknown(run_dir, record)]


def _with_known_hashes(run_dir: Path, record: Record) -> Record:
    """A waiting stage's weights have no hashes yet; the stages before it read the same ones."""
    above = read_record(run_dir.parent).weights if (run_dir.parent / NAME).is_file() else ()
    known = {one.path: one.sha256 for one in above}
    weights = (replace(one, sha256=one.sha256 or known.get(one.path)) for one in record.weights)
    return replace(record, weights=tuple(weights))


def _new_images(run_dir: Path, record: Record) -> Iterator[Difference]:
    """Those that have come since, in the subsets' folders, by the scan that the plan used."""
    images = read_images(run_dir)
    if images is None:
        return
    known = {Path(record.dataset.root) / row.image for row in images}
    subsets = {one.path for one in record.dataset.subsets}
    stated = {
        Path(one.path).name: Stated(one.repeats, one.class_tokens or "")
        for one in record.dataset.subsets
    }
    films = FAMILIES[record.family].films
    for folder in sorted({Path(path).parent for path in subsets}):
        for subset in scan(folder, films=films, stated=stated).subsets:
            if str(subset.path) in subsets:
                for image in subset.images:
                    if image.path not in known:
                        place = f"{subset.path.name}/{image.path.name}"
                        yield Difference(f"dataset {place}", None, "image")


def _code(record: Record) -> Iterator[Difference]:
    """The trainer's own."""
    used = record.trainer
    script = Path(used.script or "")
    change = trainer(used.name).changed_since(script, used.commit or "", record.lorakit)
    if change:
        yield Difference(*change)


def _circumstances(record: Record) -> list[str]:
    """Packages that may change bytes; an environment that is gone is the launch's to report."""

    def decisive(packages: Mapping[str, str]) -> dict[str, str]:
        return {name: version for name, version in packages.items() if name in DECISIVE}

    now = decisive(packages_of(Path(record.trainer.python)))
    before = decisive(record.trainer.packages)
    return [f"package {one}" for one in differences(before, now)] if now else []


def _unknown(run_dir: Path, record: Record) -> list[str]:
    """What the run ended too early to write down."""
    unknown = [f"weights {Path(one.path).name}" for one in record.weights if not one.sha256]
    if not (run_dir / LIST).is_file():
        unknown.append("the dataset")
    if record.state == WAITING or not unknown:
        return []
    return [
        "whether it is still the same is not known, for the run ended before it was hashed:"
        f" {', '.join(unknown)}"
    ]
