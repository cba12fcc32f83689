"""Pin everything a recipe's result depends on, in recipes/NAME.lock.toml, for git.

lorakit lock recipes/maya.toml            # write or renew the lock; says what changed
lorakit train recipes/maya.toml --locked  # refuses if anything differs
lorakit verify recipes/maya.lock.toml     # hashes again and names every difference
"""

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.meant import recipe_path
from lorakit.errors import counted, raise_on_errors
from lorakit.files import write_atomic
from lorakit.plan.make import faults_of
from lorakit.proof.lock import compare_locks, lock_of_all, lock_path, made_from, read_lock, text_of
from lorakit.runs.opening import plans_now
from lorakit.show import print_json, print_text, say


def add_arguments(parser: Parser) -> None:
    parser.recipe()
    parser.flag("--dry-run", "say what would change, write nothing")
    parser.json("the lock as one JSON document")


def run(args: Arguments) -> None:
    plans = plans_now(recipe_path(args.recipe), args.sets, args.unsets)
    raise_on_errors(faults_of(plans))
    lock, path = lock_of_all(plans), lock_path(plans[0].resolved.file)
    lock |= made_from(plans[0], lock["dataset"]["digest"])
    if args.json:
        print_json(lock)
    if path.exists():
        changes = [one for found in compare_locks(read_lock(path), lock) for one in found]
        for one in changes:
            print_text(one)
        if not changes:
            say("Nothing changed since the old lock.")
    if not args.dry_run:
        write_atomic(path, text_of(lock))
        say(
            f"wrote {path}: {counted(lock['dataset']['images'], 'image')},"
            f" {counted(len(lock['weights']), 'file')} of weights,"
            f" {counted(len(lock['options']), 'option')}"
        )
