"""A hub on this machine: two little servers, one that knows the files and one that stores them, with the real one's headers."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    files: dict[str, bytes] = field(default_factory=dict)  # owner/repo/resolve/revision/file
    gated: str = ""  # the token that opens it
    cut_at: list[int] = field(
        default_factory=list
    )  # how many bytes the next answers get to, before the line breaks
    busy: int = 0  # so many answers of 503 first
    lies: bool = False  # says another hash than the file has
    ranges: bool = True
    says_size: bool = True
    tells: dict[str, str] = field(default_factory=dict)  # headers of the hub, over its own
    raw: dict[str, bytes] = field(default_factory=dict)  # what a server sends, whatever is asked
    drips_s: float = 0  # after each byte of what is sent raw
    seen: list[tuple[str, str, str, str]] = field(
        default_factory=list
    )  # server, method, Range, Authorization
    hub: str = ""
    store: str = ""


@contextmanager
def hub() -> Iterator[Hub]:
    stand_in = Hub()
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), handler(stand_in, name)) for name in ("hub", "store")
    ]
    stand_in.hub, stand_in.store = (
        f"http://127.0.0.1:{server.server_address[1]}" for server in servers
    )
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield stand_in
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def handler(hub: Hub, name: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            hub.seen.append(
                (
                    name,
                    self.command,
                    self.headers.get("Range", ""),
                    self.headers.get("Authorization", ""),
                )
            )
            path = self.path.lstrip("/")
            if name in hub.raw:
                self._raw(hub.raw[name])
            elif hub.busy:
                hub.busy -= 1
                self._end(503)
            elif name == "store":
                self._send(hub.files[path])
            elif hub.gated and self.headers.get("Authorization") != f"Bearer {hub.gated}":
                self._end(
                    403 if self.headers.get("Authorization") else 401, {"X-Error-Code": "GatedRepo"}
                )
            elif path not in hub.files:
                self._end(404, {"X-Error-Code": self._why(path)})
            else:
                data = hub.files[path]
                digest = hashlib.sha256(b"another" if hub.lies else data).hexdigest()
                self._end(
                    302,
                    {
                        "Location": f"{hub.store}/{path}",
                        **({"X-Linked-Size": str(len(data))} if hub.says_size else {}),
                        "X-Linked-Etag": f'"{digest}"',
                        "X-Repo-Commit": "c0ffee",
                        **hub.tells,
                    },
                )

        def _raw(self, data: bytes) -> None:
            self.close_connection = True
            with suppress(OSError):  # the other side may have heard enough
                for at in range(0, len(data), 1 if hub.drips_s else len(data)):
                    self.wfile.write(data[at : at + 1] if hub.drips_s else data)
                    time.sleep(hub.drips_s)

        def _why(self, path: str) -> str:
            owner, repo, _, revision, *_ = path.split("/")
            known = [known.split("/") for known in hub.files]
            if [owner, repo] not in [one[:2] for one in known]:
                return "RepoNotFound"
            return "EntryNotFound" if revision in [one[3] for one in known] else "RevisionNotFound"

        def _end(self, code: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for key, value in {**(headers or {}), "Content-Length": "0"}.items():
                self.send_header(key, value)
            self.end_headers()

        def _send(self, data: bytes) -> None:
            wanted = self.headers.get("Range", "") if hub.ranges else ""
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            if hub.says_size:
                self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.close_connection = not hub.says_size
            cut = hub.cut_at.pop(0) if hub.cut_at else None
            self.wfile.write(data[start:cut])
            if cut is not None:
                self.close_connection = True

    return Handler
