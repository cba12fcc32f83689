"""The standard library's TOML reader; on Python 3.10, the package it came from. Whatever it cannot
read is a TOMLDecodeError.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOMLDecodeError = tomllib.TOMLDecodeError


class TooMuchError(TOMLDecodeError):
    """What TOML allows and the reader cannot bear; said without a place in the
    text, which the reader's own error wants from Python 3.14 on.
    """

    def __init__(self, what: str) -> None:
        ValueError.__init__(self, what)


def loads(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise TooMuchError("Brackets are nested too deeply") from error
    except ValueError as error:
        if isinstance(error, TOMLDecodeError):
            raise
        raise TooMuchError("A number has thousands of digits") from error
