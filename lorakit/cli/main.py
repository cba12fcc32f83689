"""The front door: finds the command, opens one error boundary around it, and imports nothing that
the command does not need.

A command is a module with `add_arguments(parser)` and `run(args) -> int`; its docstring's first
line is its description, the rest its epilog. A group (`dataset`) is a module with its own COMMANDS.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from lorakit import __version__
from lorakit.errors import LorakitError, SetupError

# name: (module, what it does). The order is the order in which a newcomer meets them.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "doctor": ("lorakit.cli.doctor", "what this machine has and lacks, and the remedy"),
    "presets": (
        "lorakit.cli.presets",
        "what exists, for which machine, where the numbers come from",
    ),
    "new": ("lorakit.cli.new", "a recipe and an empty dataset folder"),
    "dataset": (
        "lorakit.cli.dataset",
        "add, check, prepare, layout, caption, review, rank, select, bundle, stats, diff",
    ),
    "plan": ("lorakit.cli.plan", "everything that would happen; nothing is started"),
    "rehearse": ("lorakit.cli.rehearse", "the same plan, a few steps, on stand-in weights"),
    "train": ("lorakit.cli.train", "run one recipe, or several one after another"),
    "runs": ("lorakit.cli.runs", "every run and its state"),
    "watch": ("lorakit.cli.watch", "follow a run live from another terminal"),
    "log": ("lorakit.cli.log", "what a run printed"),
    "stop": ("lorakit.cli.stop", "end a run in good order"),
    "resume": ("lorakit.cli.resume", "go on where a run ended"),
    "explain": ("lorakit.cli.explain", "why a run failed, the evidence, the remedy"),
    "queue": ("lorakit.cli.queue", "recipes that wait for their turn"),
    "sweep": (
        "lorakit.cli.sweep",
        "one recipe with several values: a folder of recipes, one table",
    ),
    "lock": ("lorakit.cli.lock", "pin everything a recipe's result depends on"),
    "verify": ("lorakit.cli.verify", "hash again and name every difference"),
    "diff": ("lorakit.cli.diff", "two runs side by side"),
    "registry": ("lorakit.cli.registry", "the table of LoRAs and where each came from"),
    "note": ("lorakit.cli.note", "write a rating or a remark to a run"),
    "report": ("lorakit.cli.report", "one self-contained page about a run"),
    "judge": ("lorakit.cli.judge", "which checkpoint, which strength, how surely"),
    "sheet": ("lorakit.cli.sheet", "a grid of pictures: checkpoint x strength x prompt"),
    "deploy": ("lorakit.cli.deploy", "put a LoRA where A1111, ComfyUI or diffusers looks"),
    "undeploy": ("lorakit.cli.undeploy", "take it away from there again"),
    "import": ("lorakit.cli.import_", "a recipe of somebody's config, command or LoRA"),
    "export": ("lorakit.cli.export", "a folder that trains a recipe without lorakit"),
    "inspect": ("lorakit.cli.inspect", "what a LoRA file is, and what its numbers say"),
    "convert": ("lorakit.cli.convert", "a LoRA in kohya's, diffusers' or ComfyUI's names"),
    "resize": ("lorakit.cli.resize", "a LoRA at a lower rank, and what is lost"),
    "merge": ("lorakit.cli.merge", "LoRAs into one, or into a base model"),
    "strip": ("lorakit.cli.strip", "a LoRA without its private metadata"),
}


def entry() -> None:
    """The console script. What a terminal cannot show is spelt out; it is not an error."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (a daemon's child may have none)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 yours, 2 usage, 3 our bug, 4 training
    failed, 130 Ctrl-C.
    """
    try:
        return dispatch("lorakit", COMMANDS, argv)
    except LorakitError as error:
        from lorakit.show import say_error

        say_error(error)
        return error.exit_code
    except BrokenPipeError:  # `lorakit runs | head`: nobody reads on, and that is fine
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a full disk, a read-only folder: the machine's matter, not our bug
        from lorakit.show import say_error

        say_error(machine_says(error))
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001  (the one boundary: whatever is left is our bug)
        from lorakit.show import say_bug

        say_bug(error, argv)
        return 3


def machine_says(error: OSError) -> SetupError:
    """What the system refused, and for which file."""
    if error.errno == errno.ENOENT and error.filename is None:
        hint = "cd into your project and try again."
        return SetupError("The folder you are in is gone.", hint=hint)
    if error.filename is None:
        return SetupError(f"{error.strerror or error}.")
    path = os.path.abspath(os.fsdecode(error.filename))
    return SetupError(f"{error.filename}: {error.strerror or error}.", hint=_remedy(error, path))


def _remedy(error: OSError, path: str) -> str:
    """Where there is one: what is needed, and the command that shows more."""
    from shlex import quote
    from shutil import disk_usage

    folder = path if os.path.isdir(path) else os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        free = f"{disk_usage(folder).free // 1000:,} kB are free there"
        return f"{free} (df -h {quote(folder)}); with more room, run the same command again."
    if error.errno == errno.EROFS:
        return f"That disk is read-only (findmnt -T {quote(folder)}); use a folder on another one."
    if error.errno in {errno.EACCES, errno.EPERM}:
        looks = f"ls -ld {quote(folder)}; lsattr -d {quote(folder)}"
        return f"You need the right to write there ({looks}); then run the same command again."
    return ""


def dispatch(prog: str, commands: Mapping[str, tuple[str, str]], argv: Sequence[str]) -> int:
    """Find the command, import its module alone, and parse the rest with its own parser."""
    if argv[:1] == ["help"] and argv[1:2]:
        argv = [*argv[1:], "--help"]
    if not argv or argv[0] in {"-h", "--help", "help"}:
        print(overview(prog, commands))
        return 0 if argv else 2
    if argv[0] in {"-V", "--version"}:
        print(f"lorakit {__version__}")
        return 0
    name, rest = argv[0], list(argv[1:])
    if name not in commands:
        from lorakit.errors import did_you_mean

        print(f"{prog}: no command {name!r}. {did_you_mean(name, commands)}", file=sys.stderr)
        print(f"{prog} --help lists them.", file=sys.stderr)
        return 2
    module = import_module(commands[name][0])
    if hasattr(module, "COMMANDS"):
        return dispatch(f"{prog} {name}", module.COMMANDS, [*implied(module, rest), *rest])
    args = parsed(parser_for(f"{prog} {name}", module), rest)
    args.as_typed = rest
    code: int = module.run(args)
    sys.stdout.flush()
    return code


def implied(module: ModuleType, words: Sequence[str]) -> list[str]:
    """The command of a group that is meant where its first word is none: `sweep RECIPE ...`."""
    known = {*module.COMMANDS, "-h", "--help", "help"}
    return (
        [module.DEFAULT] if hasattr(module, "DEFAULT") and words and words[0] not in known else []
    )


def parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Options and names in any order: `note RUN --rating 4 "the ears are good"`."""
    if "--" in words:  # nothing after it is an option; intermixed parsing would lose that
        return parser.parse_args(words)
    try:
        return parser.parse_intermixed_args(words)
    except TypeError:  # argparse raises it for a parser with subcommands, which cannot mix
        return parser.parse_args(words)


class Parser(argparse.ArgumentParser):
    """Tells whoever writes --epochs 5 how a setting of the recipe is written."""

    def error(self, message: str) -> NoReturn:
        unknown = message.startswith("unrecognized arguments: --")
        if unknown and "--set" in self._option_string_actions:
            message += "\nA setting of the recipe is written --set KEY=VALUE."
        from lorakit.show import harmless

        super().error(harmless(message))


def parser_for(prog: str, module: ModuleType) -> argparse.ArgumentParser:
    """One command's parser, without abbreviations: `--set` must never turn into `--settings`."""
    about, _, more = (module.__doc__ or "").partition("\n")
    parser = Parser(
        prog=prog,
        description=about,
        epilog=more.strip("\n").rstrip(),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return parser


def overview(prog: str, commands: Mapping[str, tuple[str, str]]) -> str:
    width = max(map(len, commands))
    lines = [f"  {name.ljust(width)}  {what}" for name, (_, what) in commands.items()]
    first = "lorakit turns a short recipe into a trained LoRA.\n\n" if prog == "lorakit" else ""
    return (
        f"{first}usage: {prog} COMMAND [ARGUMENTS]\n\n"
        + "\n".join(lines)
        + f"\n\n{prog} COMMAND --help says more."
    )
