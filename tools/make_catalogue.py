"""Read every option out of a checkout of sd-scripts, musubi-tuner or ai-toolkit and write
lorakit/catalogue/kohya.json, musubi.json or ai-toolkit.json.

    python tools/make_catalogue.py [CHECKOUT]

How it reads: lorakit/catalogue/parsers.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from lorakit.catalogue.ai_toolkit import read_ai_toolkit  # noqa: E402
from lorakit.catalogue.checkout import head_commit  # noqa: E402
from lorakit.catalogue.parsers import SCRIPTS, read_catalogue, read_musubi  # noqa: E402
from lorakit.files import write_atomic  # noqa: E402  (the tool runs from a plain checkout of ours)
from lorakit.trainers.kohya.locate import locate  # noqa: E402

TARGET = HERE / "lorakit" / "catalogue" / "kohya.json"


def text(catalogue: dict[str, Any]) -> str:
    """JSON with one option a line, so that a moved pin can be judged in the diff."""
    lines = [
        f"    {json.dumps(name)}: {json.dumps(option)}"
        for name, option in catalogue["options"].items()
    ]
    scripts = [
        f"    {json.dumps(script)}: {json.dumps(names)}"
        for script, names in catalogue["scripts"].items()
    ]
    overrides = [
        f"    {json.dumps(script)}: {json.dumps(changed)}"
        for script, changed in catalogue["overrides"].items()
    ]
    blocks = [("options", lines), ("scripts", scripts), ("overrides", overrides)]
    for part in ("dataset", "sections", "networks"):
        if found := catalogue.get(part):
            rows = [f"    {json.dumps(name)}: {json.dumps(one)}" for name, one in found.items()]
            blocks.append((part, rows))
    head = "".join(
        f'  "{key}": {json.dumps(catalogue[key])},\n'
        for key in ("commit", "from")
        if key in catalogue
    )
    return (
        f"{{\n{head}"
        + ",\n".join(f'  "{name}": {{\n' + ",\n".join(rows) + "\n  }" for name, rows in blocks)
        + "\n}\n"
    )


def main(argv: list[str]) -> int:
    located = locate()
    checkout = Path(argv[0]) if argv else located.directory if located else None
    commit = (head_commit(checkout) if checkout else "") or ""
    if checkout is not None and (checkout / "src" / "musubi_tuner").is_dir():
        target, catalogue = TARGET.with_name("musubi.json"), read_musubi(checkout, commit)
    elif checkout is not None and (checkout / "toolkit" / "config_modules.py").is_file():
        target, catalogue = TARGET.with_name("ai-toolkit.json"), read_ai_toolkit(checkout, commit)
    elif checkout is not None and (checkout / SCRIPTS[0]).is_file():
        target, catalogue = TARGET, read_catalogue(checkout, commit)
    else:
        sys.exit("No checkout found: name one, or run `make vendor`.")
    write_atomic(target, text(catalogue))
    print(
        f"{target.relative_to(HERE)}: {len(catalogue['options'])} options of"
        f" {len(catalogue['scripts'])} scripts at {catalogue['commit'][:12]}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
