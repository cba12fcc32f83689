"""Read every file again, hash it and name every difference; exit 1 where there is one.

lorakit verify latest                  # a run: its files, weights, dataset and checkpoints
lorakit verify recipes/maya.lock.toml  # a lock: would the recipe train from the same inputs?
"""

from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.errors import counted
from lorakit.runs.find import find_run, run_name
from lorakit.show import print_json, print_text, say


def add_arguments(parser: Parser) -> None:
    parser.value("what", "RUN|LOCK", "a run (name, date, path, latest) or a .lock.toml")
    parser.flag("--quick", "do not read again what looks unchanged (size, time)")
    parser.json()


def run(args: Arguments) -> int:
    from lorakit.proof.verify import verify_lock, verify_run

    if args.what.endswith(".lock.toml"):
        found, around = verify_lock(Path(args.what), quick=args.quick)
        good = "The recipe would train from exactly what was locked."
    else:
        run_dir = find_run(args.what)
        found, around = verify_run(run_dir, quick=args.quick), []
        good = f"{run_name(run_dir)}: everything is what its record says."
    if args.json:
        print_json({"differences": found, "circumstances": around})
    else:
        for line in [*found, *(f"(circumstance) {one}" for one in around)]:
            print_text(line)
    say(f"{counted(len(found), 'difference')}." if found else good)
    if args.quick:
        say("Files that look unchanged (size, time) were not read.")
    return int(bool(found))
