"""A hub that lies, cuts, floods, loops and asks for the token where it has no business."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

from hub_stand_in import Hub
from hub_stand_in import hub as started

from attacks.calling import at_most
from attacks.table import Case

DATA = bytes(range(256)) * 4000
ASKED = "hf:owner/repo/base.safetensors@v1"
PLACE = "owner/repo/resolve/v1/base.safetensors"
TOKEN = "hf_" + "attackattack" * 3
ROOM = 4 << 20  # beyond the announced size


def answer(head: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {head}\r\n\r\n".encode() + body


def tells(**headers: str) -> Callable[[Hub], None]:
    return lambda hub: hub.tells.update({k.replace("_", "-"): v for k, v in headers.items()})


def sends(server: str, head: str, body: bytes = b"") -> Callable[[Hub], None]:
    return lambda hub: hub.raw.update({server: answer(head, body)})


def has(**values: object) -> Callable[[Hub], None]:
    return lambda hub: vars(hub).update(values)


def loops(hub: Hub) -> None:
    hub.tells["Location"] = f"{hub.hub}/{PLACE}"


ATTACKS: dict[str, Callable[[Hub], None]] = {
    "the line breaks, again and again": has(cut_at=[1 << 16] * 30),
    "the line breaks once": has(cut_at=[1 << 16]),
    "it cannot resume": has(cut_at=[1 << 16], ranges=False),
    "it says no size": has(says_size=False),
    "it lies about the hash": has(lies=True),
    "it is busy": has(busy=2),
    "it is busy for ever": has(busy=10_000),
    "it is gated": has(gated="hf_another"),
    "it announces less than it sends": tells(X_Linked_Size="1000"),
    "it announces more than it sends": tells(X_Linked_Size=str(len(DATA) + 1)),
    "it announces a size that is no number": tells(X_Linked_Size="many"),
    "it announces a size below nothing": tells(X_Linked_Size="-1"),
    "its tag leads out of the folder": tells(X_Linked_Etag='"../../../evil"'),
    "it has no tag": tells(X_Linked_Etag=""),
    "it leads to a file of this machine": tells(Location="file:///etc/passwd"),
    "it leads to itself": loops,
    "it sends a page": sends("store", "200 OK\r\nContent-Type: text/html", b"<html>no</html>"),
    "it sends without end": sends("store", "200 OK", DATA * 12),
    "it answers another range": sends(
        "store", "206 Partial Content\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5", b"abcde"
    ),
    "it speaks no HTTP": has(raw={"hub": b"SSH-2.0-OpenSSH\r\n"}),
    "it sends a head of a megabyte": sends("hub", "302 Found\r\nX-A: " + "a" * (1 << 20)),
    "it compresses what it sends": sends(
        "store", "200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9", b"\x1f\x8b\x08aaaaaa"
    ),
}


def cases(folder: Path, count: int) -> Iterator[Case]:
    """The waits of the client's own retries are left out, as in the other tests of fetching."""
    from huggingface_hub import file_download
    from huggingface_hub.utils import _http

    before = dict(os.environ), file_download.time, _http.time
    impatient = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    file_download.time = _http.time = impatient
    try:
        for number, (name, prepare) in enumerate(list(ATTACKS.items())[:count]):
            yield name, lambda at=folder / str(number), how=prepare: tried(at, how)  # type: ignore[misc]
    finally:
        os.environ.clear()
        os.environ.update(before[0])
        file_download.time, _http.time = before[1:]


def tried(folder: Path, prepare: Callable[[Hub], None]) -> str:
    from lorakit.errors import LorakitError
    from lorakit.weights import fetch
    from lorakit.weights.hub import look, reference

    folder.mkdir()
    target, said = folder / "in/base.safetensors", ""
    with started() as hub:
        os.environ |= {"HF_ENDPOINT": hub.hub, "HF_TOKEN": TOKEN}
        hub.files[PLACE] = DATA
        prepare(hub)
        asked = reference(ASKED)
        try:
            with at_most(30):
                fetch.fetch(asked, target, look(asked), sha256=hashlib.sha256(DATA).hexdigest())
        except LorakitError as error:
            said = f"{error}"
        if any(server == "store" and token for server, _, _, token in hub.seen):
            return "the token went to another host"
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if there > len(DATA) + ROOM:
        return f"{there:,} bytes came of {len(DATA):,}"
    if TOKEN in said:
        return "the token stands in the message"
    if {path.name for path in folder.iterdir()} - {"in"}:
        return "it wrote outside of the folder"
    if target.exists():
        return "" if target.read_bytes() == DATA else "other bytes are in its place"
    return "" if said else "neither there nor an error"
