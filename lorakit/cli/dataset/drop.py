"""Leave pictures out of training, and take them back: nothing is deleted, and no command forgets.

lorakit dataset drop recipes/maya.toml 40_maya_char/blurred.jpg other.jpg
lorakit dataset drop recipes/maya.toml                          # the list of what is dropped
lorakit dataset drop recipes/maya.toml --back blurred.jpg

The list is in prepare.toml, beside the N_trigger folders; it belongs in git. An original stays in
originals/; the picture in the N_trigger folder and its caption wait in .lorakit/dropped.
"""

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import read_target, writing
from lorakit.dataset.build.drop import drop, take_back
from lorakit.dataset.build.remembered import PLACE, flagged_in, read_remembered
from lorakit.dataset.rules import shown
from lorakit.errors import counted
from lorakit.show import print_json, print_text, say


def add_arguments(parser: Parser) -> None:
    parser.dataset()
    about = "a path, a name inside the dataset, or a file name that only one picture has"
    parser.value("images", "IMAGE", about, nargs="*")
    parser.flag("--flagged", "also all that are flagged in the review")
    parser.flag("--back", "use these again; their captions come back, too")
    parser.no_wait()
    parser.json()


def run(args: Arguments) -> None:
    root = read_target(args.target).root
    if args.flagged:
        args.images = [*args.images, *flagged_in(root)]
    with writing(args, root, "drop", when=bool(args.images)):
        done = (take_back if args.back else drop)(root, args.images) if args.images else []
    left_out = sorted(read_remembered(root).dropped)
    if args.json:
        print_json({"changed": done, "dropped": left_out})
        return
    for name in done or left_out:
        print_text(shown(name))
    if done:
        what = "taken back" if args.back else "dropped"
        say(f"{counted(len(done), 'picture')} {what}; {len(left_out)} in the list in {PLACE}.")
        if not args.back:
            say(f"Back: lorakit dataset drop {args.target} --back {' '.join(args.images[:3])}")
    else:
        say(f"{counted(len(left_out), 'picture')} dropped.")
