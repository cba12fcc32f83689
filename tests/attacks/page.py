"""Requests to the review page: from elsewhere, for elsewhere, malformed, endless, too many."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from drawings import drawing

from attacks.calling import tree
from attacks.table import Case
from lorakit.dataset.review.server import Server
from lorakit.dataset.review.session import ReviewSession
from lorakit.dataset.scan import scan


class Request(NamedTuple):
    name: str
    data: bytes
    slow: bool = False  # never finishes: an answer is not expected, only that the page lives on


def request(line: str, *heads: str, body: bytes = b"") -> bytes:
    heads = (*heads, *([f"Content-Length: {len(body)}"] if body else []))
    return "\r\n".join([line, *heads, "", ""]).encode("utf-8", "surrogateescape") + body


def requests(port: int, token: str) -> Iterator[Request]:
    """All of them are to be refused, or to change nothing."""
    host, right = f"Host: 127.0.0.1:{port}", f"X-Token: {token}"
    for wrong in ("", "x", token[:-1], token + "x", token.upper(), "\xe9", "a" * 9000, "%00"):
        yield Request(f"token {wrong:.9}", request(f"GET /items?token={wrong} HTTP/1.1", host))
        yield Request(
            f"post, token {wrong:.9}",
            request("POST /mark/0 HTTP/1.1", host, f"X-Token: {wrong}", body=b'{"mark":"flagged"}'),
        )
    for name in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "",
        "[::1]",
        "0",
    ):
        yield Request(
            f"host {name}", request(f"GET /items?token={token} HTTP/1.1", f"Host: {name}")
        )
    paths = (
        *("/../../etc/passwd", "//etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/image/../../x", "/."),
        *("/image/9", "/image/-1", "/image/1e3", "/image/0x0", "/image/" + "9" * 5000, "/image/"),
        *("/image/\u0660", "/image/0/../1", "/nothing", "/caption/0", "/image/0?side=x", "/%00"),
        *("/image/0?side=-5", "/image/0?side=0", "/image/0?side=" + "9" * 30, "/image/ 0", "/;/"),
        *("/items/", "/items/../items", "/favicon.ico", "/.git/config", "/a" * 3000),
    )
    for path in paths:
        join = "&" if "?" in path else "?"
        line = f"GET {path.replace(' ', '%20')}{join}token={token} HTTP/1.1"
        yield Request(f"path {path:.24}", request(line, host))
    bodies = (
        *(b"", b"{", b"null", b"[]", b"1", b'"x"', b"{}", b"\xff\xfe", b"[" * 100_000, b"9" * 9000),
        *(b'{"text": "x"}', b'{"seen": "zwx"}', b'{"text": null, "seen": null}', b'{"mark": "x"}'),
        *(b'{"text": "x", "seen": "stale"}', b'{"mark": ["flagged"]}', b'{"text":{},"seen":[]}'),
        *(b'{"text": "x", "seen": "y", "done": "no"}', b"NaN", b'{"mark": 1e999}', b"{" * 9999),
        *(b'{"text": "\\ud800", "seen": "stale"}', b'{"text":"x","text":"y","seen":"stale"}'),
    )
    for where in ("caption/0", "mark/0", "caption/9"):
        for body in bodies:
            line = f"POST /{where} HTTP/1.1"
            yield Request(f"{where} {body[:20]!r}", request(line, host, right, body=body))
    for method in (
        "PUT",
        "DELETE",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "HEAD",
        "GE\tT",
        "\xff",
    ):
        yield Request(method, request(f"{method} /items HTTP/1.1", host, right))
    for length in ("-1", "1e9", "99999999999", "\u0661", "0x10", "+5"):
        head = f"Content-Length: {length}"
        yield Request(f"length {length}", request("POST /mark/0 HTTP/1.1", host, right, head))
    chunked = request("POST /mark/0 HTTP/1.1", host, right, "Transfer-Encoding: chunked")
    yield Request("chunked", chunked + b"12\r\n" + b'{"mark":"flagged"}' + b"\r\n0\r\n\r\n")
    yield Request("no words", b"\r\n\r\n")
    yield Request("a line without end", b"G" * 100_000)
    yield Request("heads without end", request("GET / HTTP/1.1", *(["A: b"] * 300)))
    yield Request("another version", request("GET / HTTP/9.9", host))
    yield Request("bytes", bytes(range(256)) * 4)
    for turn in range(8):
        part = request("POST /mark/0 HTTP/1.1", host, right, "Content-Length: 100")
        yield Request(f"half a request {turn}", part[: len(part) - turn * 9], slow=True)


def cases(folder: Path, count: int) -> Iterator[Case]:
    subset = folder / "data/2_zwx"
    subset.mkdir(parents=True)
    for number in range(2):
        drawing((96, 96), number).save(subset / f"{number}.png")
        (subset / f"{number}.txt").write_text("zwx, one", encoding="utf-8")
    (folder / "secret.txt").write_text("not for the page", encoding="utf-8")
    before, complaints = tree(folder), io.StringIO()
    server = Server(ReviewSession(scan(folder / "data")))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    held: list[socket.socket] = []
    everything = list(requests(server.server_port, server.token))
    step = max(1, len(everything) // count)
    try:
        with contextlib.redirect_stderr(complaints):
            for one in everything[::step]:
                yield one.name, lambda one=one: tried(server, one, folder, before, complaints, held)  # type: ignore[misc]
    finally:
        for open_one in held:
            open_one.close()
        server.shutdown()
        server.server_close()


def tried(
    server: Server,
    one: Request,
    folder: Path,
    before: dict[str, str],
    complaints: io.StringIO,
    held: list[socket.socket],
) -> str:
    """Refused or harmless: no file changes, no traceback, and the page answers the next request."""
    complaints.truncate(0)
    line = socket.create_connection(("127.0.0.1", server.server_port), timeout=10)
    with contextlib.suppress(ConnectionError):
        line.sendall(one.data)
    if one.slow:
        held.append(line)
        answer = b"HTTP/1.1 400"
    else:
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_WR)
        answer = received(line)
    status = int(answer[9:12]) if answer[9:12].isdigit() else 0
    if status >= 500 and status not in {501, 505}:
        return f"answered {status}"
    if b"root:" in answer or b"not for the page" in answer:
        return "it told a file of this machine"
    if tree(folder) != before:
        return "a file has changed"
    if "Traceback" in complaints.getvalue():
        return f"a traceback: {complaints.getvalue().strip()[-160:]}"
    return lives(server)


def received(line: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(OSError), line:
        while part := line.recv(1 << 16):
            answer += part
    return answer


def lives(server: Server) -> str:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as line:
        head = f"Host: 127.0.0.1:{server.server_port}"
        line.sendall(
            request(f"GET /items?token={server.token} HTTP/1.1", head, "Connection: close")
        )
        body = received(line).partition(b"\r\n\r\n")[2]
    if len(json.loads(body)["items"]) != 2:
        return "the page does not list its pictures any more"
    return "" if time.monotonic() - began < 5 else "the page became slow"
