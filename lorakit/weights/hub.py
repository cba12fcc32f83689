"""One file from the hub by plain HTTP: what it is, and its bytes from any place on. Knows nothing
about recipes or where files are kept.

HF_ENDPOINT names another hub, HF_TOKEN opens what is gated. The token goes to that hub alone: the
hub sends large files elsewhere with a redirect, and the request that follows it does not carry the
token.
"""

from __future__ import annotations

import http.client
import os
import re
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from lorakit import __version__
from lorakit.errors import LorakitError, RecipeError, SetupError
from lorakit.weights.reference import REFERENCE

HUB = "https://huggingface.co"
QUIET_S = 60.0  # a connection that says nothing for so long is a broken one
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class Interrupted(Exception):  # noqa: N818  (reads as what happened)
    """The connection broke or the hub is busy: worth another try."""


@dataclass(frozen=True)
class Reference:
    """hf:owner/repo/file@revision, taken apart."""

    text: str
    repo: str
    file: str
    revision: str

    @property
    def url(self) -> str:
        return (
            f"{endpoint()}/{self.repo}/resolve/{quote(self.revision, safe='')}/{quote(self.file)}"
        )


class Remote(NamedTuple):
    """What the hub says about a file before a byte of it is sent."""

    size: int  # 0: it does not say
    sha256: str  # of files in large-file storage; else ""
    etag: str
    commit: str  # what the revision stands for today


def reference(text: str) -> Reference:
    match = REFERENCE.fullmatch(text)
    if not match or not match["file"]:
        raise RecipeError(
            f"{text} names no file on the hub.", hint="Write hf:owner/repo/file@revision."
        )
    return Reference(text, match["repo"], match["file"], match["revision"] or "main")


def endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def look(asked: Reference) -> Remote:
    """Size and hash. The redirect of a large file is not followed: the hub's own answer says more
    than the store's.
    """
    try:
        with _opener(stay=True).open(_request(asked, "HEAD"), timeout=QUIET_S) as answer:
            headers = answer.headers
    except HTTPError as error:
        error.close()
        if not 300 <= error.code < 400:
            raise _explained(asked, error) from None
        headers = error.headers
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(error) from error
    etag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
    size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
    return Remote(
        int(size) if size.isdigit() else 0,
        etag if re.fullmatch(r"[0-9a-f]{64}", etag) else "",
        etag,
        headers.get("X-Repo-Commit") or "",
    )


def begin(asked: Reference, offset: int) -> tuple[http.client.HTTPResponse, int]:
    """The bytes from `offset` on, and where they really begin: a server that cannot resume sends
    all of them.
    """
    request = _request(asked, "GET")
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        answer: http.client.HTTPResponse = _opener().open(request, timeout=QUIET_S)
    except HTTPError as error:
        error.close()
        raise _explained(asked, error) from None
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(error) from error
    return answer, offset if answer.status == 206 else 0


def _request(asked: Reference, method: str) -> Request:
    request = Request(  # noqa: S310  (https or the endpoint that the user set)
        asked.url,
        method=method,
        headers={"User-Agent": f"lorakit/{__version__}", "Accept-Encoding": "identity"},
    )
    token = os.environ.get("HF_TOKEN", "").strip()
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _opener(*, stay: bool = False) -> OpenerDirector:
    if urlsplit(endpoint()).scheme not in {"http", "https"}:
        raise SetupError(
            f"HF_ENDPOINT = {endpoint()!r} is no web address.", hint="Write https://HOST."
        )
    return build_opener(_Redirects(stay))


class _Redirects(HTTPRedirectHandler):
    """Keeps the method, and the token only as long as the address stays the hub's own."""

    def __init__(self, stay: bool) -> None:
        self._stay = stay

    def redirect_request(self, req: Request, *rest: Any) -> Request | None:
        newurl = str(rest[-1])
        at_home = urlsplit(newurl)[:2] == urlsplit(req.full_url)[:2]
        downgraded = (urlsplit(req.full_url).scheme, urlsplit(newurl).scheme) == ("https", "http")
        if downgraded or (self._stay and not at_home):
            return None
        kept = {
            name: value for name, value in req.headers.items() if name.lower() != "authorization"
        }
        following = Request(  # noqa: S310
            newurl, headers=kept, method=req.get_method(), origin_req_host=req.origin_req_host
        )
        if at_home and "Authorization" in req.unredirected_hdrs:
            following.add_unredirected_header(
                "Authorization", req.unredirected_hdrs["Authorization"]
            )
        return following

    def http_error_308(self, req: Request, *rest: Any) -> object:
        """Python 3.10 does not know it."""
        return self.http_error_302(req, *rest)


def _unreachable(error: Exception) -> Interrupted:
    reason = error.reason if isinstance(error, URLError) else error
    text = (
        (reason.strerror if isinstance(reason, OSError) else None)
        or str(reason)
        or type(error).__name__
    )
    return Interrupted(f"{urlsplit(endpoint()).netloc} cannot be reached: {text}")


def _explained(asked: Reference, error: HTTPError) -> LorakitError | Interrupted:
    """What the hub's refusal means; its own word for it where it gives one."""
    word = error.headers.get("X-Error-Code") or ""
    page = f"{endpoint()}/{asked.repo}"
    if error.code in TRANSIENT:
        return Interrupted(f"{urlsplit(endpoint()).netloc} answered {error.code} {error.reason}")
    if word == "RevisionNotFound":
        return RecipeError(
            f"{asked.text}: {asked.repo} has no revision {asked.revision!r}.",
            hint=f"{page} shows what it has.",
        )
    if word == "EntryNotFound" or (error.code == 404 and word != "RepoNotFound"):
        return RecipeError(
            f"{asked.text}: {asked.repo} has no file {asked.file!r} at revision {asked.revision}.",
            hint=f"{page}/tree/{quote(asked.revision, safe='')} lists its files.",
        )
    if word == "RepoNotFound":
        return RecipeError(
            f"{asked.text}: there is no repository {asked.repo}, or it is private.",
            hint="Look at the spelling; a private one needs HF_TOKEN.",
        )
    if error.code in {401, 403}:
        return _gated(asked, page)
    return SetupError(f"{asked.text}: the hub answered {error.code} {error.reason}.")


def _gated(asked: Reference, page: str) -> SetupError:
    if os.environ.get("HF_TOKEN", "").strip():
        return SetupError(
            f"{asked.text}: {asked.repo} is gated, and the account of HF_TOKEN may not read it.",
            hint=(
                f"Accept its licence at {page} with that account, and let the token read gated"
                " repositories."
            ),
        )
    return SetupError(
        f"{asked.text}: {asked.repo} is gated: only who has accepted its licence may fetch it.",
        hint=(
            f"Accept the licence at {page}, make a token at {endpoint()}/settings/tokens, then"
            " export HF_TOKEN=hf_..."
        ),
    )
