"""Whether the trainer's environment holds the versions that the checkout was written for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.trainers.checkout import Located

WATCHED = ("diffusers", "transformers", "accelerate")  # whose insides the scripts reach into
_PIN = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?==([\w.]+)", re.MULTILINE)


def version_faults(located: Located) -> Iterator[Fault]:
    try:
        text = (located.directory / "requirements.txt").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    wanted = dict(_PIN.findall(text))
    for name in WATCHED:
        version, there = wanted.get(name, ""), installed(located, name)
        if version and there and _minor(version) != _minor(there):
            what = f"{name} {there} is installed; these scripts were written for {version}."
            hint = f"{located.python} -m pip install {name}=={version}"
            yield Fault(str(located.python), what, hint, f"version-{name}", "warning")


def installed(located: Located, name: str) -> str:
    """Its version, read off the folder that pip left; nothing where that is not certain."""
    home = located.python.parent.parent
    found = {
        path.name.removesuffix(".dist-info").split("-")[1]
        for pattern in ("lib/python3*/site-packages", "Lib/site-packages")
        for path in home.glob(f"{pattern}/{name}-*.dist-info")
    }
    return found.pop() if len(found) == 1 else ""


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
