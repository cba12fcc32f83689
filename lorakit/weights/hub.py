"""One file from the hub, through huggingface_hub: its addresses, its login, its retries, its cache.

hf_hub_download keeps no part of a file that was interrupted, so a download of 24 GB would begin
again: we call the http_get under it, and keep the part. That is also why Xet's own protocol, which
cannot resume either, is not used; the hub serves those files by plain HTTP too.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from lorakit import __version__
from lorakit.errors import LorakitError, RecipeError, SetupError
from lorakit.private import without_user
from lorakit.show import size
from lorakit.weights.reference import Reference, read_reference

HUB = "https://huggingface.co"
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})

Progress = Callable[[int, int], None]  # bytes there, bytes in all (0: unknown)


class Remote(NamedTuple):
    """What the hub says about a file before a byte of it is sent."""

    size: int  # 0: it does not say
    sha256: str  # of files in large-file storage; else ""
    etag: str
    commit: str  # what the revision stands for today
    url: str = ""  # where the bytes are
    cached: Path | None = None  # the same content in huggingface_hub's own cache


def reference(text: str) -> Reference:
    found = read_reference(text)
    if not found or not found.file:
        what = f"{text} names no file on the hub."
        raise RecipeError(what, hint="Write hf:owner/repo/file@revision.")
    return found


def endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def look(asked: Reference) -> Remote:
    """Size and hash, or the copy in the shared cache where HF_HUB_OFFLINE is set."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        return _offline(asked)
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    _require_encryption(asked, endpoint())
    with _explained(asked):
        url = hf_hub_url(asked.repo, asked.file, revision=asked.revision, endpoint=endpoint())
        try:
            found = get_hf_file_metadata(url, headers=_headers(), endpoint=endpoint())
        except HfHubHTTPError as error:
            if error.response.status_code not in TRANSIENT:
                raise
            found = get_hf_file_metadata(
                url, headers=_headers(), endpoint=endpoint(), retry_on_errors=True
            )
    etag, size_bytes = found.etag or "", found.size or 0
    folder = Path(constants.HF_HUB_CACHE, f"models--{asked.repo.replace('/', '--')}", "blobs")
    cached = folder / (etag or "none")
    return Remote(
        size_bytes,
        _sha256(etag),
        etag,
        found.commit_hash or "",
        found.location,
        cached if cached.is_file() and cached.stat().st_size == size_bytes > 0 else None,
    )


def download(asked: Reference, remote: Remote, part: Path, progress: Progress) -> None:
    """What `part` lacks of the file."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
    there = part.stat().st_size if part.exists() else 0
    if not remote.etag or there > remote.size:  # nothing says that these are bytes of this file
        part.unlink(missing_ok=True)
        there = 0
    _require_encryption(asked, remote.url)
    headers = _headers()
    if urlsplit(remote.url).netloc != urlsplit(endpoint()).netloc:
        headers.pop("authorization", None)  # the token is for the hub alone

    class Bar(AbstractContextManager[Any]):
        """What http_get takes for a bar of tqdm's."""

        def __init__(self, *, initial: int = 0, **_: Any) -> None:
            self.count = initial

        def __exit__(self, *_: object) -> None:
            return

        def update(self, count: int) -> None:
            self.count += count
            if self.count > remote.size > 0:
                raise SetupError(f"{asked.text}: the hub sends more than the size it announced.")
            progress(self.count, remote.size)

    with part.open("ab", buffering=0) as file, _explained(asked, lambda: (part, remote.size)):
        http_get(
            remote.url,
            file,
            resume_size=there,
            headers=headers,
            expected_size=remote.size or None,
            tqdm_class=Bar,
        )
        os.fsync(file.fileno())


def _require_encryption(asked: Reference, url: str) -> None:
    """Of every address that is asked; only a hub of your own may be without."""
    scheme = urlsplit(endpoint()).scheme
    if scheme not in {"http", "https"}:
        raise SetupError("HF_ENDPOINT is not a web address.", hint="Write https://HOST.")
    if urlsplit(url).scheme not in {scheme, "https"}:
        raise SetupError(f"{asked.text}: the hub sends it from an address without encryption.")


def _offline(asked: Reference) -> Remote:
    from huggingface_hub import try_to_load_from_cache

    with _explained(asked):
        found = try_to_load_from_cache(asked.repo, asked.file, revision=asked.revision)
    if not isinstance(found, str):
        what = f"{asked.text} is not here, and HF_HUB_OFFLINE is set; nothing was started."
        raise SetupError(what, hint="Unset it, or name a file on this machine.")
    blob, commit = Path(found).resolve(), Path(found).parts[-1 - len(asked.file.split("/"))]
    return Remote(blob.stat().st_size, _sha256(blob.name), blob.name, commit, "", blob)


def _sha256(etag: str) -> str:
    return etag if re.fullmatch(r"[0-9a-f]{64}", etag) else ""


def _headers() -> dict[str, str]:
    """With the token of HF_TOKEN or of `hf auth login`, where there is one."""
    from huggingface_hub.utils import build_hf_headers

    headers: dict[str, str] = build_hf_headers(library_name="lorakit", library_version=__version__)
    return headers


@contextmanager
def _explained(
    asked: Reference, come: Callable[[], tuple[Path, int]] | None = None
) -> Iterator[None]:
    """What the hub's refusal means, in one sentence; `come` says how much is there by then."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    host = urlsplit(without_user(endpoint())).netloc
    try:
        yield
    except HFValidationError as error:
        raise RecipeError(f"{asked.text}: {str(error).splitlines()[0]}") from None
    except HfHubHTTPError as error:
        raise _refusal(asked, error) from None
    except (HTTPError, OSError, ValueError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # the disk's
        if come is None:
            text = re.sub(r"^\[.*?\] ", "", str(error)) or type(error).__name__
            what = f"{asked.text}: {host} cannot be reached: {text}."
            hint = "Fetch the file by other means and name its path in [model], or try later."
            raise SetupError(what, hint=hint) from None
        part, whole = come()
        there = size(part.stat().st_size) + (f" of {size(whole)}" if whole else "")
        hint = "What came is kept; the same command goes on from there."
        raise SetupError(f"{asked.text}: the connection broke at {there}.", hint=hint) from None


def _refusal(asked: Reference, error: Any) -> LorakitError:
    from huggingface_hub import errors

    page = f"{without_user(endpoint())}/{asked.repo}"
    match error:
        case errors.GatedRepoError():
            return _gated(asked, page)
        case errors.RevisionNotFoundError():
            what = f"{asked.text}: {asked.repo} has no revision {asked.revision!r}."
            return RecipeError(what, hint=f"{page} shows what it has.")
        case errors.RepositoryNotFoundError():
            what = f"{asked.text}: there is no repository {asked.repo}, or it is private."
            return RecipeError(what, hint="Look at the spelling; a private one needs HF_TOKEN.")
        case errors.RemoteEntryNotFoundError():
            what = f"{asked.text}: {asked.repo} has no file {asked.file!r} at revision"
            hint = f"{page}/tree/{quote(asked.revision, safe='')} lists its files."
            return RecipeError(f"{what} {asked.revision}.", hint=hint)
    response = error.response
    if response.status_code in {401, 403}:
        return _gated(asked, page)
    what = f"{asked.text}: the hub answered {response.status_code} {response.reason_phrase}."
    return SetupError(what, hint="Try again later." if response.status_code in TRANSIENT else "")


def _gated(asked: Reference, page: str) -> SetupError:
    from huggingface_hub import get_token

    if get_token():
        return SetupError(
            f"{asked.text}: {asked.repo} is gated, and the account of your token may not read it.",
            hint=f"Accept its licence at {page} with that account, and let the token read gated"
            " repositories.",
        )
    return SetupError(
        f"{asked.text}: {asked.repo} is gated: fetching it means accepting its licence first.",
        hint=f"Accept the licence at {page}, make a token at"
        f" {without_user(endpoint())}/settings/tokens, then export HF_TOKEN=hf_...",
    )
