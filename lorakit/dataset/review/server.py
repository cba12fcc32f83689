"""The page over HTTP: 127.0.0.1 only, a token in every request, nothing cached by others."""

import hmac
import json
import secrets
import socket
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lorakit import json_text
from lorakit.dataset.review.session import Conflict, ReviewSession
from lorakit.owner import Owned
from lorakit.pictures.open import RefusedError

PAGE = Path(__file__).with_name("page.html")
LARGEST_BODY = 1 << 20
MOST_THREADS = 32
REQUEST_S = 30.0  # from its first byte to the end of the answer
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline';"
    " connect-src 'self'"
)


class Server(ThreadingHTTPServer):
    request_queue_size = MOST_THREADS  # a burst beyond it waits for seconds

    def __init__(self, review: ReviewSession, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.review = review
        self.token = secrets.token_urlsafe(18)
        self.request_s = REQUEST_S
        self._room = threading.BoundedSemaphore(MOST_THREADS)
        self._until: dict[Any, float] = {}  # open connections, and when their time is up

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            with suppress(OSError):
                request.setblocking(False)
                request.send(BUSY)
            self.shutdown_request(request)
            return
        self.begin(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._until.pop(request, None)
            self._room.release()

    def begin(self, connection: Any) -> None:
        """Its time runs from now on."""
        self._until[connection] = time.monotonic() + self.request_s

    def service_actions(self) -> None:
        """Twice a second: who is too slow is cut off, and its thread ends."""
        now = time.monotonic()
        for connection, until in list(self._until.items()):
            if now > until:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is not worth a traceback."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/?token={self.token}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.server.begin(self.connection)
        super().handle_one_request()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if not self._allowed(query.get("token", [""])[0]):
            return
        words = parts.path.strip("/").split("/")
        review = self.server.review
        try:
            if words == [""]:
                self._send(PAGE.read_bytes(), "text/html; charset=utf-8")
            elif words == ["items"]:
                self._json({"root": review.root.name, "items": review.items()})
            elif words == ["findings"]:
                self._json(review.findings())
            elif len(words) == 2 and words[0] in {"image", "original"}:
                side = int(query.get("side", ["1200"])[0])
                number = _number(words[1], review)
                shown = review.picture(number, side, original=words[0] == "original")
                self._send(shown, "image/jpeg", keep_s=600)
            else:
                self._send(b"no such page", "text/plain", status=HTTPStatus.NOT_FOUND)
        except RefusedError as error:
            self._send(str(error).encode(), "text/plain", status=HTTPStatus.UNPROCESSABLE_ENTITY)
        except (ValueError, IndexError):
            self._send(b"no such image", "text/plain", status=HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if not self._allowed(self.headers.get("X-Token", "")):
            return
        said = self.headers.get("Content-Length", "")
        length = int(said) if said.isdecimal() else LARGEST_BODY + 1
        if length > LARGEST_BODY:
            self.close_connection = True  # what it sends is not read
            self._send(b"too long", "text/plain", status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            data = json_text.loads(self.rfile.read(length))
            self._act(urlsplit(self.path).path.strip("/").split("/"), data)
        except RefusedError as error:
            self._send(str(error).encode(), "text/plain", status=HTTPStatus.UNPROCESSABLE_ENTITY)
        except Conflict as conflict:
            self._json({"now": conflict.now}, status=HTTPStatus.CONFLICT)
        except Owned as owned:
            self._json({"wait": str(owned.owner)}, status=HTTPStatus.SERVICE_UNAVAILABLE)
        except (ValueError, KeyError, IndexError, TypeError):
            self._send(b"not understood", "text/plain", status=HTTPStatus.BAD_REQUEST)

    def _act(self, words: list[str], data: dict[str, Any]) -> None:
        review = self.server.review
        number = _number(words[1], review)
        if words[0] == "caption":
            text, seen = str(data["text"]), str(data["seen"])
            self._json(review.save(number, text, seen=seen, done=bool(data.get("done"))))
            return
        if words[0] == "mark":
            review.mark(number, str(data["mark"]))
        elif words[0] == "drop":
            review.drop(number, back=bool(data["back"]))
        elif words[0] == "crop":
            review.crop(number, data["box"])
        else:
            raise KeyError(words[0])
        self._json({})

    def _allowed(self, token: str) -> bool:
        """A page elsewhere that rebinds its name to this address gets nothing."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        known = hmac.compare_digest(token.encode(), self.server.token.encode())
        if known and host in {"127.0.0.1", "localhost"}:
            return True
        self.close_connection = True
        refusal = b"Open the address that lorakit printed; it holds the token."
        self._send(refusal, "text/plain", status=HTTPStatus.FORBIDDEN)
        return False

    def _json(self, data: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(data, ensure_ascii=False).encode(), "application/json", status=status)

    def _send(
        self, body: bytes, kind: str, *, status: HTTPStatus = HTTPStatus.OK, keep_s: int = 0
    ) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": f"private, max-age={keep_s}" if keep_s else "no-store",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """Quiet: the terminal is yours."""


def _number(text: str, review: ReviewSession) -> int:
    number = int(text)
    if not 0 <= number < len(review.images):
        raise IndexError(number)
    return number
