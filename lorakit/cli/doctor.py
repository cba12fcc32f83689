"""What this machine has and lacks: Python, torch, device, trainers, packages, disk, hub login.

lorakit doctor
lorakit doctor --json

Every line that is red has its remedy. The report names no folder of yours and no token: paste it
as it is. Nothing is changed. exit codes: 0 nothing is red, 1 something is.
"""

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.next_step import PROGRAMS, say_next
from lorakit.show import print_json, print_text


def add_arguments(parser: Parser) -> None:
    parser.json()


def run(args: Arguments) -> int:
    from lorakit.doctor import examine

    checks = examine(PROGRAMS)
    red = sum(one.state == "red" for one in checks)
    if args.json:
        rows = [{name: value for name, value in vars(one).items() if value} for one in checks]
        print_json({"schema": "lorakit.doctor/1", "red": red, "checks": rows})
        return int(red > 0)
    width = max(len(one.name) for one in checks)
    for one in checks:
        print_text(f"{one.state.ljust(4)}  {one.name.ljust(width)}  {one.said}")
        for line in one.remedy.splitlines() if one.state == "red" else one.remedy.splitlines()[:1]:
            print_text(f"{' ' * (width + 8)}{line}")
    say_next("lorakit doctor    # once more, after the red ones" if red else "lorakit presets")
    return int(red > 0)
