"""Two runs side by side: settings, data, weights, versions, results, curves; only what differs.

lorakit diff maya latest
lorakit diff maya/20260801-201500 maya/20260802-093000 --json
lorakit diff maya finn --page both.html    # one page, with the curves laid over each other
"""

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.proof.compare import Difference, shown
from lorakit.proof.pair import compare_runs
from lorakit.runs.find import find_run, run_name
from lorakit.show import print_json, print_text, say


def add_arguments(parser: Parser) -> None:
    parser.value("before", "RUN", "name, date, path or latest")
    parser.value("after", "RUN", "another")
    about = "write one self-contained page, with both runs' curves and samples"
    parser.path("--page", "FILE.html", about)
    parser.json()


def run(args: Arguments) -> None:
    from lorakit.report.two_runs import agreement_of, write_page

    a, b = find_run(args.before), find_run(args.after)
    found, curves = compare_runs(a, b), agreement_of(a, b)
    page = write_page(a, b, args.page) if args.page else None
    if args.json:
        print_json({**found, "curves": curves, **({"page": page} if page else {})})
        return
    say(f"- {run_name(a)}", f"+ {run_name(b)}")
    for section, rows in found.items():
        if rows:
            print_text(section)
        for row in rows:
            show(row)
    if lines := curves.lines():
        print_text("curves", *lines, sep="\n  ")
    if not any(found.values()):
        say("The two runs are equal in everything that is recorded.")
    if page:
        say(f"Both on one page: {page}")


def show(one: Difference) -> None:
    """Short values on one line, long ones (captions) under each other."""
    before, after = ("absent" if side is None else shown(side) for side in (one.before, one.after))
    if len(before) + len(after) < 70:
        print_text(f"  {one.key}: {before} -> {after}")
    else:
        print_text(f"  {one.key}\n    - {before}\n    + {after}")
