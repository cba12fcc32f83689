"""The user's own settings: config.toml, and the environment variables that override it."""

import os
from pathlib import Path

from lorakit import tomllib
from lorakit.errors import SetupError, did_you_mean
from lorakit.user_files import Missing

CHECKOUTS = {  # trainer -> its key in config.toml, and its folder under vendor/
    "kohya": ("sd_scripts", "sd-scripts"),
    "musubi": ("musubi", "musubi-tuner"),
    "ai-toolkit": ("ai_toolkit", "ai-toolkit"),
}
KEYS = (*(key for name, _ in CHECKOUTS.values() for key in (name, f"{name}_python")), "ssh")


def home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # a user number without a name, as containers like to have
        raise SetupError("This user has no home folder.", hint="Set one: HOME=FOLDER.") from error


def config_path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or home() / ".config"
    return Path(base) / "lorakit" / "config.toml"


def cache_dir() -> Path:
    """Stand-in weights, hashes and locks: $XDG_CACHE_HOME/lorakit."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "lorakit"


def user_setting(key: str) -> tuple[str, str] | None:
    """The value and its source, environment first; None where the user has not set it."""
    variable = f"LORAKIT_{key.upper()}"
    if os.environ.get(variable):
        return os.environ[variable], variable
    path = config_path()
    try:
        data = tomllib.read(path)
    except Missing:
        return None
    for one in data:
        if one not in KEYS:
            near = did_you_mean(one, KEYS)
            raise SetupError(f"{path}: there is no setting {one!r}. {near}".rstrip())
    return (str(data[key]), str(path)) if key in data else None
