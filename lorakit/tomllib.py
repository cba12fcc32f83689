"""The standard library's TOML reader; on Python 3.10, the package it came from. Whatever it cannot
read, or is nested too deeply for whoever comes after, is a TOMLDecodeError.
"""

import re
import sys
from pathlib import Path
from typing import Any

from lorakit.json_text import deeper
from lorakit.user_files import Unreadable, read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOMLDecodeError = tomllib.TOMLDecodeError


TOO_DEEP = "Brackets are nested too deeply"
# a key of thousands of parts takes the reader minutes
LONG_KEY = re.compile(
    r"""(?:^|[\[{,])[ \t]*(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){65}""", re.MULTILINE
)


class TooMuchError(TOMLDecodeError):
    """What TOML allows and the reader cannot bear; said without a place in the
    text, which the reader's own error wants from Python 3.14 on.
    """

    def __init__(self, what: str) -> None:
        ValueError.__init__(self, what)


def loads(text: str) -> dict[str, Any]:
    if LONG_KEY.search(text):
        raise TooMuchError(TOO_DEEP)
    try:
        data = tomllib.loads(text)
    except RecursionError as error:
        raise TooMuchError(TOO_DEEP) from error
    except ValueError as error:
        if isinstance(error, TOMLDecodeError):
            raise
        raise TooMuchError("A number has thousands of digits") from error
    if deeper(data):
        raise TooMuchError(TOO_DEEP)
    return data


def page(beside: str, name: str) -> dict[str, Any]:
    """Data of our own, beside the module that reads it; lists are tuples."""
    text = Path(beside).with_name(name).read_text(encoding="utf-8")
    return {key: _frozen(one) for key, one in tomllib.loads(text).items()}


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(one) for key, one in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def read(path: Path) -> dict[str, Any]:
    text = read_text(path)
    try:
        return loads(text)
    except TOMLDecodeError as error:
        raise Unreadable(path, f"is not valid TOML: {error}.") from error
