"""The comment of a pull request: for every recipe whose plan is another than in a commit, what
changes, and what is wrong.

    python tools/plan_comment.py --base origin/main --for cuda:24 --out comment.md

In the project's folder. Writes nothing else; ends with 1 where a recipe cannot be planned.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MARK = "<!-- lorakit plan -->"
LONGEST = 60_000  # letters; more is refused by the page that takes comments


def recipes_here() -> list[str]:
    paths = [*Path("recipes").glob("*.toml"), *Path("sweeps").glob("*/*.toml")]
    return sorted(path.as_posix() for path in paths if not path.name.endswith(".lock.toml"))


def plan_of(recipe: str, base: str, machine: str) -> dict[str, Any]:
    """The document of `lorakit plan --diff --json`, or the words that came instead."""
    words = ["-m", "lorakit", "plan", recipe, "--diff", base, "--json", "--for", machine]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip() or f"lorakit ended with {done.returncode}"
        return {"recipe": recipe, "broken": said, "changes": {}, "faults": [], "new": False}
    return found


def cell(value: object) -> str:
    if value is None:
        return "-"
    text = " ".join(str(value).split()).replace("|", "\\|").replace("`", "'")
    return f"`{text if len(text) <= 80 else text[:77] + '...'}`"


def section_of(plan: dict[str, Any]) -> str:
    lines = [f"### {plan['recipe']}"]
    if "broken" in plan:
        return "\n".join([*lines, "", "```", plan["broken"], "```"])
    new = " (new)" if plan["new"] else ""
    lines += [f"{plan['steps']} steps{new}: {plan['formula']}", ""]
    errors = [one for one in plan["faults"] if one["severity"] == "error"]
    warned = [one for one in plan["faults"] if one["severity"] == "warning"]
    for word, faults in (("**cannot start**", errors), ("warning", warned)):
        for one in faults:
            said = f"{one['where']}: {one['what']} {one['hint']}"
            lines.append(f"- {word}: {said.strip()}")
    rows = [(part, one) for part, changes in plan["changes"].items() for one in changes]
    if rows:
        lines += ["", "| | what | before | after |", "|---|---|---|---|"]
        lines += [
            f"| {part} | {cell(one['key'])} | {cell(one['before'])} | {cell(one['after'])} |"
            for part, one in rows
        ]
    return "\n".join(lines)


def comment(plans: list[dict[str, Any]], base: str) -> str:
    told = [one for one in plans if one["changes"] or one["new"] or "broken" in one]
    same = len(plans) - len(told)
    head = f"{MARK}\n## Plans, against {base}\n"
    text = "\n\n".join([head, *map(section_of, told)])
    if len(text) > LONGEST:
        text = (
            f"{text[:LONGEST]}\n\n... and more; `lorakit plan RECIPE --diff {base}` says the rest."
        )
    return f"{text}\n\n{same} of {len(plans)} recipes are planned as before.\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base", required=True, metavar="REV")
    parser.add_argument("--for", dest="machine", default="cuda:24", metavar="DEVICE")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    plans = [plan_of(one, args.base, args.machine) for one in recipes_here()]
    args.out.write_text(comment(plans, args.base), encoding="utf-8")
    wrong = [
        one
        for one in plans
        if "broken" in one or any(fault["severity"] == "error" for fault in one["faults"])
    ]
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
