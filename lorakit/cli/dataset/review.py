"""A local page to look at every image, its crop and its caption; keyboard first, saved as you type.

lorakit dataset review recipes/maya.toml
lorakit dataset review datasets/maya --port 8123 --no-browser

The page is served on 127.0.0.1 alone and needs the token in the printed address. Ctrl-C ends it.
What was changed can be taken back with `lorakit dataset caption ... --undo`; accepted and flagged
images are remembered in the dataset's .lorakit folder.
"""

import webbrowser
import zlib

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import read_target
from lorakit.cli.terminal.next_step import next_for_dataset, say_next
from lorakit.dataset.build.contact_sheet import redraw_sheets
from lorakit.dataset.review.server import Server
from lorakit.dataset.review.session import ReviewSession
from lorakit.errors import RecipeError, counted
from lorakit.show import print_text, say


def add_arguments(parser: Parser) -> None:
    parser.dataset()
    parser.number("--port", "PORT", "default: one of the dataset's own", default=0)
    parser.flag("--no-browser", "print the address only")


def run(args: Arguments) -> None:
    target = read_target(args.target)
    facts = target.scan()
    if not any(subset.images for subset in facts.subsets):
        hint = "`lorakit dataset check` says why."
        raise RecipeError(f"{target.root}: no N_trigger folder with images.", hint=hint)
    suffix = target.caption_extension
    review = ReviewSession(
        facts, trigger=target.trigger, chooser=target.chooser(), caption_extension=suffix
    )
    server = _serve(review, args.port)
    try:  # Ctrl-C may come as soon as the address is seen
        print_text(server.url, flush=True)
        say(f"{counted(len(review.images), 'image')}; Ctrl-C ends the review.")
        if not args.no_browser:
            webbrowser.open(server.url)
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        say("Closed; every edit is in its file.")
    finally:
        review.leave()
        server.server_close()
    redraw_sheets(target.root, target.chooser(), suffix)
    say_next(*next_for_dataset(target))


def _serve(review: ReviewSession, port: int) -> Server:
    """A port of its own for each dataset: a browser keeps unsaved text by address."""
    wanted = port or 49152 + zlib.crc32(str(review.root).encode()) % 16000
    try:
        return Server(review, wanted)
    except OSError as error:
        if not port:
            return Server(review)
        what = f"Port {port} cannot be used: {error.strerror}."
        raise RecipeError(what, hint="Leave --port out to get a free one.") from error
