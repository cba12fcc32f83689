"""A sweep as one self-contained page: the table, curves, the best point's recipe.

lorakit sweep report                       # the newest; writes sweeps/NAME/report.html
lorakit sweep report maya-sweep --out maya-sweep.html --open
"""

import webbrowser

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.next_step import say_next
from lorakit.files import write_atomic
from lorakit.show import print_text


def add_arguments(parser: Parser) -> None:
    parser.sweep()
    parser.path("--out", "FILE", "write the page there")
    parser.flag("--open", "show it in the browser")


def run(args: Arguments) -> None:
    from lorakit.engines.sweep import best, sweep_named
    from lorakit.engines.sweep_page import sweep_page

    folder, sweep, results = sweep_named(args.sweep)
    path = args.out or folder / "report.html"
    write_atomic(path, sweep_page(folder, sweep))
    print_text(path)
    if args.open:
        webbrowser.open(path.resolve().as_uri())
    name, (first, _) = sweep.name, best(results)
    words = f"table {name} --winner recipes/{name}-best.toml" if first else f"run {name}"
    say_next(f"lorakit sweep {words}")
