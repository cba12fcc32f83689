"""A recipe as a task of SkyPilot: files for `sky jobs launch`, which lorakit does not run itself,
for it costs money.
"""

import json
import re
import shlex
from functools import cache
from pathlib import Path
from string import Template

from lorakit.dataset.share.bundle import contents
from lorakit.engines.pod import bundle_at, datasets_of, sent_files, setup_lines
from lorakit.errors import SetupError, refused
from lorakit.files import below, into_place, write_atomic
from lorakit.machine import GB, known_cards
from lorakit.plan.model import Plan, Verdict
from lorakit.show import size

FOLDER = "sky"
USUAL_GB = 24  # where a family's memory is not known
BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")  # as S3 and Google take it


def cards_for(plan: Plan, count: int) -> str:
    """The smallest cards that fit for sure, and those up to twice their size."""
    cards = [card for card in known_cards().values() if card.sky]
    fit = {
        card.sky: card.memory_bytes
        for card in cards
        if Verdict.of(plan.estimate, card).word == "fits"
        or (not plan.estimate.memory_high and card.memory_bytes >= USUAL_GB * GB)
    }
    if not fit:
        high = size(plan.estimate.memory_high)
        names = ", ".join(card.sky for card in cards)
        raise SetupError(f"No card of {names} surely has the {high} that it needs.")
    least = min(fit.values())
    chosen = (f"{name}: {count}" for name, memory in fit.items() if memory <= 2 * least)
    return f"{{{', '.join(chosen)}}}"


@cache  # once for all recipes of a sweep
def _bundled(root: Path, folder: Path) -> Path:
    with into_place(folder / f"{root.name}.zip") as beside:
        digest = bundle_at(beside, root.name, dict(contents(root)))
    return (folder / f"{root.name}.zip").rename(folder / f"{root.name}-{digest}.zip")


def write_task(plan: Plan, bucket: str) -> Path:
    """sky/NAME.yaml, the recipe's files beside it, and the datasets as bundles."""
    if not BUCKET.fullmatch(bucket):
        hint = "Small letters, digits and dashes; SkyPilot makes it where there is none yet."
        raise refused("--bucket", f"{bucket!r} can be no bucket's name.", hint)
    resolved, high = plan.resolved, plan.estimate.memory_high
    name, folder = resolved.name, resolved.root / FOLDER
    processes = resolved.launch.get("processes")
    project = sent_files(resolved)
    for place, data in project.items():
        write_atomic(folder / name / place, data)
    datasets, words = datasets_of(resolved)
    bundles, unpack = [], []
    for place, root in datasets.items():
        bundle, at = _bundled(root, folder / ".bundles"), shlex.quote(place)
        bundles.append(f"  ~/bundles/{bundle.name}: {json.dumps(below(bundle, resolved.root))}")
        verify = f"lorakit dataset bundle verify ~/bundles/{shlex.quote(bundle.name)}"
        unpack.append(f"  [ -d {at} ] || {verify} --unpack {at}")
    locked = ["--locked"] if f"recipes/{resolved.file.stem}.lock.toml" in project else []
    train = ["lorakit", "train", f"recipes/{resolved.file.name}", *words, *locked]
    text = Template(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")).substitute(
        recipe=resolved.file.name,
        name=name,
        file=shlex.quote(f"{FOLDER}/{name}.yaml"),
        cards=cards_for(plan, int(processes.value) if processes else 1),
        memory=f"up to {size(high)}" if high else f"nobody knows what; {USUAL_GB} GB are usual",
        disk=100 + plan.estimate.disk_bytes // GB,
        project=json.dumps(f"{FOLDER}/{name}"),
        bundles="\n".join(bundles),
        bucket=bucket,
        setup="\n".join(f"  {line}" for line in setup_lines(resolved.trainer)),
        unpack="\n".join(unpack),
        train=shlex.join(train),
    )
    write_atomic(folder / f"{name}.yaml", text)
    return folder / f"{name}.yaml"
