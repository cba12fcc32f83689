"""What may be said of private values: the one door before anything is shown or stored. The values
of `[launch] env` go to the training and nowhere else; a URL loses its user and password.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HIDDEN = "(not recorded)"  # in the place of a private value
# keep_tokens, max_token_length and their like count words of captions
_SECRET_KEY = re.compile(
    r"(?<!keep_)(?<!max_)(?<!class_)token(?!i|_warmup)|api_?key|secret|passw|credential",
    re.IGNORECASE,
)
# One slash: what a URL looks like after it was taken for a path.
_USER = re.compile(r"(\b[A-Za-z][\w+.-]+:/{1,2})[^/\s\"'<>\\]*@")
_PASSWORD = re.compile(r"\b[A-Za-z][\w+.-]+://[^/\s\"'<>\\:]*:[^/\s\"'<>\\]*@")
_ENV_WORD = re.compile(r"\s*\"?(?:launch\"?\s*\.\s*\"?)?env\b|\s*launch\s*=")
_TELLING = {"--set", "--notify"}


def without_user(text: str) -> str:
    """Every URL in the text without user and password."""
    return _USER.sub(r"\1", text) if ":/" in text else text


def holds_password(value: Any) -> bool:
    """Whether a URL with a password stands anywhere in it."""
    if isinstance(value, Mapping):
        return any(map(holds_password, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(holds_password, value))
    return isinstance(value, str) and bool(_PASSWORD.search(value))


def names_only(env: Mapping[str, Any], private: Iterable[str]) -> dict[str, str]:
    """The environment we set, with the values of these names hidden."""
    hidden = {*private, *filter(_SECRET_KEY.search, env)}
    return {key: HIDDEN if key in hidden else without_user(str(env[key])) for key in env}


def shown(section: str, key: str, value: Any) -> Any:
    """A setting's value as it may be shown and stored."""
    if (section, key) == ("launch", "env"):
        return names_only(value, value) if isinstance(value, Mapping) else HIDDEN
    return HIDDEN if _SECRET_KEY.search(key) else _clean(value)


def is_private_set(text: str) -> bool:
    """Whether `--set TEXT` gives a value that no file may hold."""
    key, _, value = text.partition("=")
    last = key.rpartition(".")[2]
    return bool(_ENV_WORD.match(text) or _SECRET_KEY.search(last) or holds_password(value))


def words_shown(argv: Sequence[str]) -> list[str]:
    """A command line of ours without the values of --set and the command of --notify."""
    said, before = [], ""
    for word in argv:
        option, equals, rest = word.partition("=")
        if before in _TELLING:
            said.append(_named(before, word))
        elif option in _TELLING and equals:
            said.append(f"{option}={_named(option, rest)}")
        else:
            said.append(without_user(word))
        before = word
    return said


def _named(option: str, word: str) -> str:
    if option == "--set" and not is_private_set(word):
        return without_user(word)
    return f"{word.partition('=')[0]}={HIDDEN}" if option == "--set" else HIDDEN


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return without_user(value)
    if isinstance(value, Mapping):
        return {key: _clean(one) for key, one in value.items()}
    return type(value)(map(_clean, value)) if type(value) in {list, tuple} else value
