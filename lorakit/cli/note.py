"""Note a remark, a rating, the chosen checkpoint or its strength; the registry shows them.

lorakit note latest "hands better than v1" --rating 4
lorakit note maya --chosen "epoch 6" --strength 0.8
"""

from lorakit.cli.terminal.arguments import A_RUN, Arguments, Parser
from lorakit.cli.terminal.meant import trained_run
from lorakit.cli.terminal.next_step import next_for_run, say_next
from lorakit.errors import LorakitError
from lorakit.runs.find import find_run, run_name, whole_of
from lorakit.runs.record import read_record
from lorakit.runs.registry import add_note, update
from lorakit.sheet.source import checkpoint_file
from lorakit.show import say


def add_arguments(parser: Parser) -> None:
    parser.value("run", "RUN", A_RUN)
    parser.value("text", "TEXT", "the remark", nargs="?", default="")
    parser.number("--rating", "0-5", "how good it is")
    about = "the checkpoint to use: a file, or as a sheet shows it: 40, step 40, final"
    parser.value("--chosen", "WHICH", about)
    parser.value("--strength", "S", "at which strength", type=float)


def run(args: Arguments) -> None:
    found, chosen = find_run(args.run), args.chosen
    if not args.text and args.rating is None and not chosen and args.strength is None:
        hint = 'lorakit note RUN "a remark" --rating 4 --chosen FILE --strength 0.8'
        raise LorakitError("Nothing to note.", hint=hint)
    run_dir = whole_of(trained_run(args.run) if chosen else found)
    if chosen:
        record = read_record(run_dir)
        chosen = checkpoint_file(record.output_dir(run_dir), record.output_name, chosen)
    add_note(run_dir, args.text, rating=args.rating, chosen=chosen, strength=args.strength)
    update(run_dir.parents[2])
    say(f"noted for {run_name(run_dir)}")
    say_next(*next_for_run(run_dir))
