"""A local page to look at every image, its crop and its caption; keyboard first, saved as you type.

  lorakit dataset review recipes/maya.toml
  lorakit dataset review datasets/maya --port 8123 --no-browser

The page is served on 127.0.0.1 alone and needs the token in the printed address. Ctrl-C ends it.
What was changed can be taken back with `lorakit dataset caption ... --undo`; accepted and flagged
images are remembered in the dataset's .lorakit folder.
"""

from __future__ import annotations

import argparse
import webbrowser
import zlib
from collections.abc import Sequence

from lorakit.cli.terminal.dataset_target import Target, add_target, read_target
from lorakit.dataset.review.server import Server
from lorakit.dataset.review.session import Desk, Lint
from lorakit.errors import RecipeError
from lorakit.show import tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument("--port", type=int, default=0, help="default: one of the dataset's own")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")


def run(args: argparse.Namespace) -> int:
    target = read_target(args)
    facts = target.scan()
    if not any(subset.images for subset in facts.subsets):
        raise RecipeError(
            f"{target.root}: no N_trigger folder with images.",
            hint="`lorakit dataset check` says why.",
        )
    desk = Desk(
        facts,
        lint=lint_for(target),
        chooser=target.chooser(),
        caption_extension=target.caption_extension,
    )
    server = _serve(desk, args.port)
    print(server.url, flush=True)
    tell(f"{len(desk.images)} images; Ctrl-C ends it.")
    if not args.no_browser:
        webbrowser.open(server.url)
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        tell("Closed; every edit is in its file.")
    finally:
        desk.leave()
        server.server_close()
    return 0


def _serve(desk: Desk, port: int) -> Server:
    """Each dataset has a port of its own: a browser keeps unsaved text by address, and finds it
    again after a crash.
    """
    wanted = port or 49152 + zlib.crc32(str(desk.root).encode()) % 16000
    try:
        return Server(desk, wanted)
    except OSError as error:
        if not port:
            return Server(desk)
        raise RecipeError(
            f"Port {port} cannot be used: {error.strerror}.",
            hint="Leave --port away to get a free one.",
        ) from error


def lint_for(target: Target) -> Lint:
    """What is wrong with one caption alone; the rules that compare captions are `lorakit dataset
    check`'s.
    """
    trigger = target.trigger

    def lint(caption: str) -> Sequence[str]:
        parts = [part.strip() for part in caption.split("\n", 1)[0].split(",")]
        said = []
        if not caption.strip():
            said.append("empty: the image would be trained on the folder's name alone")
        elif trigger and trigger not in caption:
            said.append(f"the trigger {trigger} is missing")
        elif trigger and not parts[0].startswith(trigger):
            said.append(f"the trigger {trigger} does not stand first")
        lower = [part.casefold() for part in parts if part]
        said += [
            f"twice: {part}" for part in sorted({part for part in lower if lower.count(part) > 1})
        ]
        return said

    return lint
