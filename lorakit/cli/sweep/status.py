"""How far a sweep is: points by their state, what runs just now, what rungs have decided.

lorakit sweep status
lorakit sweep status maya-sweep
"""

from collections import Counter

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.next_step import say_next
from lorakit.errors import counted
from lorakit.show import print_text, say_faults


def add_arguments(parser: Parser) -> None:
    parser.sweep()


def run(args: Arguments) -> None:
    from lorakit.engines.halving import rungs_made
    from lorakit.engines.slurm import submitted_job, tasks_of
    from lorakit.engines.sweep import edited, sweep_named

    folder, sweep, results = sweep_named(args.sweep)
    states = Counter(one.state for one in results)
    said = ", ".join(f"{count} {state}" for state, count in states.most_common())
    print_text(f"{sweep.name}, of {sweep.recipe}: {counted(len(results), 'point')}: {said}")
    for one in results:
        if one.state in {"running", "unattended"}:
            print_text(f"  {one.point.name}: step {one.step} of {one.total}")
        elif one.reason and one.state in {"failed", "broken"}:
            print_text(f"  {one.point.name}: {one.state}: {one.reason}")
    for rung in rungs_made(folder, sweep):
        stopped = ", ".join(rung.stopped) or "none"
        print_text(f"  rung {rung.number} at {rung.share:.0%}, {rung.measure}: {stopped} stopped")
    if (folder / "slurm" / "job").exists() and (job := submitted_job(folder)):
        tasks = ", ".join(f"{number} {state}" for number, state in tasks_of(job))
        print_text(f"  Slurm job {job}: {tasks}")
    say_faults(edited(folder, sweep))
    over = {*states} <= {"done", "failed", "broken"}
    say_next(f"lorakit sweep {'table' if over else 'run'} {sweep.name}")
