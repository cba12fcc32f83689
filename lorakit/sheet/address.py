"""A program of yours that answers at an address: asked there, and never anywhere else."""

import json
import re
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from lorakit import json_text
from lorakit.errors import LorakitError

TIMEOUT_S, MOST_ANSWER = 30.0, 1 << 27


@dataclass(frozen=True)
class Address:
    url: str

    def ask(self, path: str, data: Any = None, *, wait_s: float | None = None) -> Any:
        """Its answer: JSON, or a picture's bytes. Without proxies, and not where it points to."""
        parts, url = urlsplit(self.url), self.url.rstrip("/") + path
        doors = {"http": HTTPConnection, "https": HTTPSConnection}
        if parts.scheme not in doors or not parts.netloc:
            raise LorakitError(f"--at {self.url}: an address such as http://127.0.0.1:8188.")
        body = None if data is None else json.dumps(data)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            with closing(doors[parts.scheme](parts.netloc, timeout=wait_s or TIMEOUT_S)) as door:
                verb = "POST" if body else "GET"
                door.request(verb, parts.path.rstrip("/") + path, body, headers)
                answer = door.getresponse()
                found = answer.read(MOST_ANSWER)
            if answer.status == 200:
                picture = answer.headers.get_content_maintype() == "image"
                return found if picture else json_text.loads(found or b"{}")
        except (OSError, ValueError, HTTPException) as error:
            hint = "Is it running there? A1111 and Forge must be started with --api."
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise LorakitError(f"{url} gives no answer: {why}.", hint=hint) from error
        text = found[:65536].decode("utf-8", "replace")
        said = re.findall(r'"(?:details|message|detail|errors)": *"([^"]+)"', text)
        why = "; ".join(dict.fromkeys(said)) or answer.reason
        raise LorakitError(f"{url} answers {answer.status}: {why}")
