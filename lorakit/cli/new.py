"""A recipe and an empty dataset folder.

lorakit new maya --preset sdxl --trigger maya_char
lorakit new finn --like recipes/maya.toml --trigger finn_char    # the same for someone else
lorakit new robin --preset sdxl --trigger robin_char --album ~/robin    # pictures stay there

writes recipes/maya.toml and datasets/maya/, and says what to do next. Nothing that is there is
overwritten. An --album is trained on as it lies: a flat folder, N_trigger folders, those of
another program.
"""

import os
import shlex
from pathlib import Path
from typing import Any

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import Target
from lorakit.cli.terminal.meant import recipe_path
from lorakit.cli.terminal.next_step import next_for_dataset, say_next
from lorakit.dataset.build.sources import AlbumPart, lying_album
from lorakit.dataset.captions.tokens import common_word
from lorakit.errors import Fault, raise_on_errors
from lorakit.files import below, write_atomic, write_or_refuse
from lorakit.portable import name_problem, trigger_problem
from lorakit.recipe import presets
from lorakit.recipe.model import Resolved
from lorakit.recipe.new_recipe import BESIDE, recipe_like, recipe_text, schema_file
from lorakit.recipe.presets import Preset
from lorakit.recipe.resolve import resolve
from lorakit.show import say, table
from lorakit.user_files import read_bytes

ANOTHER = "Choose another name."


def add_arguments(parser: Parser) -> None:
    parser.value("name", "NAME", "of the recipe, the dataset folder and the LoRA")
    parser.value("--preset", "P", "one that `lorakit presets` lists")
    about = "a recipe whose settings to take: the next friend, the next character"
    parser.value("--like", "RECIPE", about)
    about = "the word that calls the character: rare, one word, such as maya_char"
    parser.value("--trigger", "T", about, default=None)
    about = "pictures and captions that stay where they lie; nothing is copied or made there"
    parser.path("--album", "DIR", about)
    parser.path("--dir", "DIR", "the project folder (default: here)")


def run(args: Arguments) -> int:
    part, reg = lying_album(args.album.absolute()) if args.album else (None, None)
    if args.trigger is None and part and part.tokens:
        args.trigger = part.tokens.split()[0]
    if args.trigger is None or bool(args.preset) == bool(args.like):
        return _ask(args)
    like = resolve(recipe_path(args.like))[0] if args.like else None
    root: Path = args.dir or (Path(below(like.root, Path.cwd())) if like else Path())
    recipe, dataset = root / "recipes" / f"{args.name}.toml", root / "datasets" / args.name
    raise_on_errors(_faults(args, root, recipe, like))
    mentions = list[str]()
    if like:
        text, mentions = recipe_like(like, args.name, args.trigger)
    else:
        preset = presets.read(args.preset, root)
        lying = _lying(part, reg, preset, root.absolute()) if part else {}
        text = recipe_text(args.name, preset, args.trigger, **lying)
    write_or_refuse(recipe, text, ANOTHER)
    write_atomic(recipe.with_name(BESIDE), read_bytes(schema_file("recipe")))  # for editors
    kept = dataset.exists()
    if part:
        dataset = part.path
        say(f"Wrote {recipe}. The pictures in {dataset} are trained on as they lie.")
    else:
        dataset.mkdir(parents=True, exist_ok=True)
        say(f"Wrote {recipe} and {'found' if kept else 'made'} {dataset}/.")
    if like and mentions:
        say(f"These lines still speak of {like.name}; look at them:", *mentions)
    if common_word(args.trigger):
        say(
            f'warning: the trigger "{args.trigger}" is a word that CLIP knows, and brings what it'
            f" means along; {args.trigger}_char would not."
        )
    _say_what_is_next(recipe, dataset)
    return 0


def _lying(part: AlbumPart, reg: Path | None, preset: Preset, root: Path) -> dict[str, Any]:
    """What the recipe says of an album that stays where it is."""
    places = {"path": part.path, "reg_path": reg}
    album = {key: below(place, root) for key, place in places.items() if place}
    repeats = part.repeats or int(preset.repeats)
    return {"album": album, "flat": {} if part.repeats is None else {part.path.name: repeats}}


def _ask(args: Arguments) -> int:
    """Usage, with what there is to choose from and the whole command to type."""
    name = shlex.quote(args.name)
    trigger = args.trigger or f"{args.name}_char"
    source = f"--like {args.like}" if args.like else f"--preset {args.preset or 'sdxl'}"
    if args.preset and args.like:
        say("--preset and --like at once: a recipe that is like another has its preset.")
    elif not args.preset and not args.like:
        pages = [presets.read(one, Path.cwd()) for one in presets.names(Path.cwd())]
        rows = [(page.name, page.about.get("machine", ""), page.title) for page in pages]
        table(("preset", "machine", "title"), rows)
        say("", "Which preset? --like RECIPE takes another recipe's settings instead.")
    if args.trigger is None:
        say("Which trigger? The word that calls the character: rare, one word.")
    album = f" --album {shlex.quote(str(args.album))}" if args.album else ""
    say_next(f"lorakit new {name} {source}{album} --trigger {trigger}")
    return 2


def _say_what_is_next(recipe: Path, dataset: Path) -> None:
    resolved, _ = resolve(recipe)
    lacking = [
        str(one.value)
        for key, one in resolved.model.items()
        if isinstance(one.value, str)
        and key not in {"sha256", "network_weights"}
        and not one.value.startswith("hf:")
        and not resolved.path_of(one.value).exists()
    ]
    if lacking:
        say(f"Not here yet: {', '.join(lacking)}; [model] in {recipe.as_posix()} says where.")
    say_next(*next_for_dataset(Target(dataset.absolute(), recipe.as_posix(), resolved)))


def _faults(args: Arguments, root: Path, recipe: Path, like: Resolved | None) -> list[Fault]:
    problems = {"NAME": name_problem(args.name), "--trigger": trigger_problem(args.trigger)}
    if args.like and args.album:
        problems["--album"] = "goes with --preset; of a recipe like another, edit [dataset] path."
    faults = [Fault(where, problem, rule="new") for where, problem in problems.items() if problem]
    if like is None and not presets.find(args.preset, root):
        faults.append(presets.unknown("--preset", args.preset, root))
    if like and like.root.resolve() != root.resolve():
        what = f"{args.like} belongs to another project, and its paths start there."
        faults.append(Fault("--like", what, f"Leave --dir out, or say {like.root}.", "new"))
    if not problems["NAME"] and os.path.lexists(recipe):
        what = "is there already, and is left as it is."
        faults.append(Fault(str(recipe), what, ANOTHER, "new"))
    return faults
