"""A recipe with its lock, its presets, and a script that puts them in place elsewhere."""

import shlex

from lorakit.proof.lock import lock_path
from lorakit.recipe import presets
from lorakit.recipe.model import Resolved
from lorakit.user_files import read_bytes

FOLDER, START = "project", "start.sh"


def recipe_files(resolved: Resolved) -> dict[str, bytes]:
    """By their places in a project; none where the recipe holds values that stay here."""
    if "env" in resolved.launch:
        return {}
    lock, page = lock_path(resolved.file), None
    files = {f"recipes/{resolved.file.name}": read_bytes(resolved.file)}
    if lock.is_file():
        files[f"recipes/{lock.name}"] = read_bytes(lock)
    if resolved.preset:
        page = presets.read(resolved.preset, resolved.root)
    while page is not None:
        files[f"presets/{page.name}.toml"] = page.text.encode()
        page = page.base
    return files


def project_files(resolved: Resolved, dataset: str) -> dict[str, bytes]:
    """The same by their names inside the bundle of the dataset of that name, and the script."""
    if files := recipe_files(resolved):
        files[START] = _start(sorted(files), resolved, dataset).encode()
    return {f"{FOLDER}/{name}": data for name, data in files.items()}


def _start(names: list[str], resolved: Resolved, dataset: str) -> str:
    words = ["lorakit", "plan", *words_there(resolved, dataset)]
    return f"""\
#!/bin/sh
# Written by lorakit: sh {shlex.quote(f"datasets/{dataset}/{FOLDER}/{START}")}
# Copies recipe and presets beside datasets/, where nothing of their name is yet, and plans.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
mkdir -p recipes presets
for file in {shlex.join(names)}; do
  [ -e "$file" ] || cp "$here/$file" "$file"
done
exec {shlex.join(words)}
"""


def words_there(resolved: Resolved, dataset: str) -> list[str]:
    """The recipe where it has been put in place, and what is to be set there."""
    path = resolved.dataset.get("path")
    same = path and str(path.value).rstrip("/") == f"datasets/{dataset}"
    sets = [] if same else [f"--set=dataset.path=datasets/{dataset}"]
    return [f"recipes/{resolved.file.name}", *sets]
