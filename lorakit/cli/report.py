"""One self-contained page about a run: curves, samples, checkpoints, dataset, what to do next.

lorakit report                        # the latest run; writes report.html into its folder
lorakit report maya --open
lorakit report maya/20260101-120000 --out maya.html

Every run makes its page at its end. This makes it again, also while a run goes on or after it died.
The page needs no network and contains everything it shows.
"""

import webbrowser

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.errors import SetupError
from lorakit.runs.find import find_run
from lorakit.show import print_text


def add_arguments(parser: Parser) -> None:
    parser.run()
    parser.path("--out", "FILE", "write the page there instead of into the run's folder")
    parser.flag("--open", "show it in the browser")


def run(args: Arguments) -> None:
    from lorakit.report.make import make_report

    run_dir = find_run(args.run)
    try:
        path = make_report(run_dir, args.out)
    except OSError as error:
        what = f"{args.out or run_dir}: {error.strerror}; the page could not be written."
        raise SetupError(what) from error
    print_text(path)
    if args.open:
        webbrowser.open(path.resolve().as_uri())
