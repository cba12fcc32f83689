"""The hub on this machine, for what is sent to it: repositories are made, files come by LFS or in the commit, one commit is
all or nothing. Built on the double that files are fetched from.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from hub_stand_in import Hub, handler

SHA = "a" * 40


@dataclass
class TakingHub(Hub):
    token: str = "hf_right"
    may_write: bool = True
    repos: dict[str, bool] = field(default_factory=dict)  # name -> private
    held: dict[str, dict[str, bytes]] = field(default_factory=dict)  # name -> files
    stored: dict[str, bytes] = field(default_factory=dict)  # by their sha256
    fails_at: str = ""  # a part of an address whose answer is an error
    code: int = 500
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def taking_hub() -> Iterator[TakingHub]:
    double = TakingHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(double))
    double.hub = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()


def _handler(hub: TakingHub) -> Any:
    base: Any = handler(hub, "hub")

    class Handler(base):  # type: ignore[misc]
        def do_GET(self) -> None:
            self._taken(b"")

        def do_POST(self) -> None:
            self._taken(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def do_PUT(self) -> None:
            self.do_POST()

        def _json(self, code: int, data: Any) -> None:
            text = json.dumps(data).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _taken(self, body: bytes) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append((self.command, path))
            if hub.fails_at and hub.fails_at in path:
                if hub.code == 0:
                    self.close_connection = True
                    self.connection.close()
                    return
                self._json(hub.code, {"error": "no"})
            elif path.startswith("/lfs/"):
                hub.stored[hashlib.sha256(body).hexdigest()] = body
                self._json(200, {})
            elif path == "/api/validate-yaml":
                self._json(200, {"errors": [], "warnings": []})
            elif self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._json(401, {"error": "Invalid credentials"})
            elif path == "/api/repos/create":
                self._create(json.loads(body))
            elif path.endswith("/info/lfs/objects/batch"):
                self._json(
                    200,
                    {
                        "transfer": "basic",
                        "objects": [*map(self._batch, json.loads(body)["objects"])],
                    },
                )
            else:
                self._repo(path.removeprefix("/api/models/"), body)

        def _create(self, wish: dict[str, Any]) -> None:
            name = f"{wish['organization']}/{wish['name']}"
            if not hub.may_write:
                self._json(403, {"error": "You don't have the rights to create a model"})
            elif name in hub.repos:
                self._json(409, {"error": "You already created this model repo"})
            else:
                hub.repos[name], hub.held[name] = wish.get("visibility") == "private", {}
                self._json(200, {"url": f"{hub.hub}/{name}"})

        def _batch(self, one: dict[str, Any]) -> dict[str, Any]:
            return {**one, "actions": {"upload": {"href": f"{hub.hub}/lfs/{one['oid']}"}}}

        def _repo(self, path: str, body: bytes) -> None:
            name, _, verb = (
                path.partition("/preupload/")
                if "/preupload/" in path
                else path.partition("/commit/")
            )
            if name not in hub.repos:
                self._end(404, {"X-Error-Code": "RepoNotFound"})
            elif "/preupload/" in path:
                files = [
                    {
                        "path": one["path"],
                        "uploadMode": "lfs"
                        if one["path"].endswith((".safetensors", ".png"))
                        else "regular",
                        "shouldIgnore": False,
                    }
                    for one in json.loads(body)["files"]
                ]
                self._json(200, {"files": files})
            elif verb:
                self._commit(name, [json.loads(line) for line in body.splitlines()])
            else:
                files = [{"rfilename": one} for one in (".gitattributes", *hub.held[name])]
                known = {"id": name, "sha": SHA, "private": hub.repos[name], "siblings": files}
                self._json(200, known)

        def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
            assert lines[0]["value"]["parentCommit"] == SHA
            for line in lines[1:]:
                value = line["value"]
                content = (
                    hub.stored[value["oid"]]
                    if line["key"] == "lfsFile"
                    else base64.b64decode(value["content"])
                )
                hub.held[name][value["path"]] = content
            self._json(200, {"commitUrl": f"{hub.hub}/{name}/commit/{SHA}", "commitOid": SHA})

    return Handler
