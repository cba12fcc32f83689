"""What was delivered where: a journal beside the runs, so that a delivery can be taken back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorakit.deploy.deliver import Delivered
from lorakit.errors import LorakitError
from lorakit.files import sha256, take_name
from lorakit.journal import Entry, Journal, now
from lorakit.runs.folder import runs_dir

NAME = "deployed.jsonl"


def note_delivery(root: Path, run: str, program: str, done: Delivered) -> None:
    """Only what this delivery wrote is ours to take back."""
    if done.written:
        written = {str(path.absolute()): sha256(path) for path in done.written}
        entry: Entry = {"when": now(), "run": run, "program": program, "written": written}
        entry |= {"target": str(done.path.absolute()), "sidecar": dict(done.sidecar)}
        entry |= {"backup": str(done.backup.absolute()) if done.backup else ""}
        Journal(runs_dir(root) / NAME).append(entry)


def said_before(root: Path, target: Path) -> dict[str, Any]:
    """What the last delivery to this place said in its sidecar."""
    found = [one["sidecar"] for one in _standing(root) if one["target"] == str(target.absolute())]
    return dict(found[-1]) if found else {}


def take_back(root: Path, run: str, program: str | None) -> Iterator[str]:
    """What the deliveries wrote goes, what they put aside comes back; changed files stay, aloud."""
    mine = [
        one for one in _standing(root) if one["run"] == run and program in {None, one["program"]}
    ]
    if not mine:
        where = f" to {program}" if program else ""
        what = f"{run} was not deployed{where}, as far as {runs_dir(root) / NAME} knows."
        raise LorakitError(what, hint="A file that was copied by hand is removed by hand.")
    for one in reversed(mine):
        for name, digest in one["written"].items():
            path = Path(name)
            if not path.is_file():
                yield f"{path} is gone already"
            elif sha256(path) != digest:
                yield f"{path} was changed since; it was left as it is"
            else:
                path.unlink()
                yield f"removed {path}"
        target, backup = Path(one["target"]), Path(one["backup"] or one["target"])
        if backup != target and backup.exists() and not target.exists():
            take_name(backup, target)
            yield f"{target} is the one from before again"
        Journal(runs_dir(root) / NAME).append({"undone": one["when"], "target": one["target"]})


def _standing(root: Path) -> list[Entry]:
    """Deliveries that were not taken back."""
    entries = Journal(runs_dir(root) / NAME).read()
    undone = {(one["undone"], one["target"]) for one in entries if "undone" in one}
    return [one for one in entries if "run" in one and (one["when"], one["target"]) not in undone]
