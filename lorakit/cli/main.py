"""The front door: finds the command, opens one error boundary around it, and imports nothing that
the command does not need.

A command is a module with `add_arguments(parser)` and `run(args)`, which gives the exit code where
it is not always 0; its docstring's first line is its description, the rest its epilog. A group
(`dataset`) is a package of commands with its own COMMANDS.
"""

import errno
import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from keyword import iskeyword
from types import ModuleType

from lorakit import __version__, cli
from lorakit.cli.terminal.arguments import Parser
from lorakit.errors import LorakitError, SetupError


def entry() -> None:
    """The console script. What a terminal cannot show is spelt out; it is not an error."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (a daemon's child may have none)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """The exit code: 0 done, 1 yours, 2 usage, 3 our bug, 4 training failed, 130 Ctrl-C."""
    try:
        return dispatch("lorakit", cli, argv)
    except BrokenPipeError:  # `lorakit runs | head`: nobody reads on, and that is fine
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (LorakitError, OSError) as error:  # a full disk is the machine's matter, not our bug
        from lorakit.show import say_error

        known = error if isinstance(error, LorakitError) else machine_says(error)
        say_error(known)
        return known.exit_code
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


def dispatch(prog: str, group: ModuleType, argv: Sequence[str]) -> int:
    """Find the command, import its module alone, and parse the rest with its own parser."""
    if argv[:1] == ["help"] and argv[1:2]:
        argv = [*argv[1:], "--help"]
    if not argv or argv[0] in {"-h", "--help", "help"}:
        print(overview(prog, group.COMMANDS))
        return 0 if argv else 2
    if argv[0] in {"-V", "--version"}:
        print(f"lorakit {__version__}")
        return 0
    name, rest = argv[0], list(argv[1:])
    if name not in group.COMMANDS:
        from lorakit.errors import did_you_mean

        print(f"{prog}: no command {name!r}. {did_you_mean(name, group.COMMANDS)}", file=sys.stderr)
        print(f"{prog} --help lists them.", file=sys.stderr)
        return 2
    module = module_of(group, name)
    if hasattr(module, "COMMANDS"):
        return dispatch(f"{prog} {name}", module, [*implied(module, rest), *rest])
    args = parser_for(f"{prog} {name}", module).parsed(rest)
    args.as_typed = rest
    code: int = module.run(args) or 0
    sys.stdout.flush()
    return code


def module_of(group: ModuleType, name: str) -> ModuleType:
    return import_module(f"{group.__name__}.{name}{'_' * iskeyword(name)}")


def implied(group: ModuleType, words: Sequence[str]) -> list[str]:
    """The command of a group that is meant where its first word is none: `sweep RECIPE ...`."""
    known = {*group.COMMANDS, "-h", "--help", "help"}
    return [group.DEFAULT] if hasattr(group, "DEFAULT") and words and words[0] not in known else []


def parser_for(prog: str, module: ModuleType) -> Parser:
    about, _, more = (module.__doc__ or "").partition("\n")
    parser = Parser(prog=prog, description=about, epilog=more.strip("\n").rstrip())
    module.add_arguments(parser)
    return parser


def overview(prog: str, commands: Mapping[str, str]) -> str:
    width = max(map(len, commands))
    lines = [f"  {name.ljust(width)}  {what}" for name, what in commands.items()]
    first = "lorakit turns a short recipe into a trained LoRA.\n\n" if prog == "lorakit" else ""
    usage = f"{first}usage: {prog} COMMAND [ARGUMENTS]\n"
    return "\n".join([usage, *lines, f"\n{prog} COMMAND --help says more."])
