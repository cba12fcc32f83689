"""A machine that ssh reaches, such as a rented one: push, train, watch, fetch.

lorakit remote ssh:root@203.0.113.7:22022/workspace/maya setup   # lorakit itself, once
lorakit remote ssh:pod push recipes/maya.toml      # recipe, lock, presets, pictures: what it lacks
lorakit remote ssh:pod train recipes/maya.toml --locked     # push, begin there, watch
lorakit remote ssh:pod watch maya                  # also runs, log, stop, resume, explain, doctor
lorakit remote ssh:pod fetch maya                  # proven byte for byte, then put under runs/

ssh:HOST may be a name of ~/.ssh/config; without /FOLDER the project is ~/lorakit-pod there. The
training needs no connection. Pictures that are there are not sent again, and what a push replaces
there is kept in .lorakit/aside. LORAKIT_SSH='ssh -i KEY' adds options. exit codes: the command's.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.meant import recipe_path
from lorakit.cli.terminal.next_step import say_next
from lorakit.engines.pod import Pod, fetch_run, pack_run, push, setup_lines, stays_here
from lorakit.errors import LorakitError, did_you_mean, raise_on_errors
from lorakit.machine import this_machine
from lorakit.plan.make import faults_of
from lorakit.runs.find import find_run, run_name
from lorakit.runs.opening import plans_now
from lorakit.show import print_text, say

PASSED = ("runs", "watch", "log", "stop", "explain", "report", "sheet", "judge", "doctor", "plan")
VERBS = ("setup", "push", "train", "resume", "fetch", *PASSED)


def add_arguments(parser: Parser) -> None:
    parser.value("place", "ssh:HOST", "ssh:[USER@]HOST[:PORT][/FOLDER]")
    parser.value("verb", "COMMAND", ", ".join(VERBS))
    parser.value("words", "WORDS", "of that command", nargs=argparse.REMAINDER)


def run(args: Arguments) -> int:
    words = args.words
    if (args.place, args.verb) == ("here", "pack"):  # the other end of fetch
        pack_run(find_run(words[0]), sys.stdout.buffer)
        return 0
    pod = Pod.named(args.place)
    if args.verb not in VERBS:
        hint = did_you_mean(args.verb, VERBS) or f"There are {', '.join(VERBS)}."
        raise LorakitError(f"lorakit remote has no command {args.verb!r}.", hint=hint)
    if args.verb in {"push", "train"}:
        return push_and_train(pod, args.verb, words)
    if args.verb == "resume":
        return _begin(pod, ["start", "resume", *words], words[:1])
    if args.verb == "fetch":
        return _fetch(pod, (words or ["latest"])[0])
    if args.verb == "setup":
        return pod.stay(["setup", " && ".join(setup_lines())])
    return pod.stay([args.verb, *words], tty=sys.stdin.isatty())


def push_and_train(pod: Pod, verb: str, words: Sequence[str]) -> int:
    """What `push` does not know is for `train`."""
    parser = Parser(prog=f"lorakit remote {pod} {verb}")
    parser.recipes()
    args, more = parser.parse_known_args(words)
    machine = replace(this_machine(), elsewhere=True)
    recipes = map(recipe_path, args.recipes)
    stages = [plans_now(one, args.sets, args.unsets, machine=machine) for one in recipes]
    raise_on_errors(faults_of(chain(*stages)))
    plans = [first for first, *_ in stages]
    said = push(pod, plans, say)
    say(*dict.fromkeys(chain(*map(stays_here, plans))))
    if verb == "push":
        say_next(f"lorakit remote {pod} train {shlex.join(words)}")
        return 0
    there = [f"recipes/{one.resolved.file.name}" for one in plans]
    words = ["several", *there, "--", "train", *said, *more]
    return _begin(pod, words, [plans[0].resolved.name])


def _begin(pod: Pod, words: Sequence[str], name: Sequence[str]) -> int:
    """In a session of its own there, then watched from here."""
    if code := pod.stay(words):
        return code
    say(f"It trains at {pod.host} and needs no connection; Ctrl-C here ends the watching alone.")
    code = pod.stay(["watch", *name], tty=sys.stdin.isatty())
    say_next(shlex.join(["lorakit", "remote", str(pod), "watch" if code else "fetch", *name]))
    return code


def _fetch(pod: Pod, word: str) -> int:
    target = fetch_run(pod, word, Path.cwd())
    print_text(f"{target}: all of it as it is at {pod.host}, byte for byte")
    say(f"{pod.host} may cost money as long as it is on; end it where you rented it.")
    say_next(f"lorakit report {shlex.quote(run_name(target))}")
    return 0
