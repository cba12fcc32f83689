"""Folder names: how kohya reads `N_trigger`, and how lorakit writes it. Pure."""

from dataclasses import dataclass

from lorakit.errors import RecipeError

FORBIDDEN = frozenset('/\\\0\n\r\t:*?"<>|')  # some system refuses it, or it breaks a line


@dataclass(frozen=True)
class FolderName:
    """`oddity` is set where kohya reads something that may not be meant."""

    repeats: int
    class_tokens: str
    oddity: str = ""


def repeats_said(name: str) -> int | None:
    """Exactly kohya's rule: int() of what is before the first underscore."""
    try:
        return int(name.partition("_")[0])
    except ValueError:
        return None


def parse_folder(name: str) -> FolderName | None:
    """None: kohya passes over it; of less than 1 repeat without even a warning in its log."""
    head, _, rest = name.partition("_")
    repeats = repeats_said(name) or 0
    return FolderName(repeats, rest, _oddity(head, repeats, rest)) if repeats > 0 else None


def _oddity(head: str, repeats: int, rest: str) -> str:
    if not rest:
        return (
            "no class tokens after the number: images without a caption file get an empty caption"
        )
    second, _, tail = rest.partition("_")
    if second.isdigit() and tail:
        return f'read as {repeats} repeats of "{rest}", not as {head}{second} repeats of "{tail}"'
    if head != str(repeats):
        return f'"{head}" is read as {repeats} repeats'
    if rest != rest.strip():
        return f'the class tokens are "{rest}", spaces included'
    return ""


def format_folder(repeats: int, tokens: str) -> str:
    """The name of a subset's folder; refuses what would not be read back as the same two things."""
    if repeats < 1:
        raise RecipeError(f"{repeats} repeats: must be at least 1.")
    bad = sorted(FORBIDDEN & set(tokens))
    if bad or tokens != tokens.strip():
        why = f"because of {bad[0]!r}" if bad else "spaces at its ends"
        raise RecipeError(f"{tokens!r} cannot be part of a folder name ({why}).")
    return f"{repeats}_{tokens}"
