"""Subsets and their repeats: show, set, solve, rename, split, merge; kohya's dataset TOML.

  lorakit dataset layout datasets/maya                            # the table and the arithmetic
  lorakit dataset layout recipes/maya.toml --repeats maya_char=40            # shown only
  lorakit dataset layout recipes/maya.toml --repeats maya_char=40 --write    # done
  lorakit dataset layout recipes/maya.toml --ratio maya_char=4 maya_char_realbody=1
  lorakit dataset layout recipes/maya.toml --steps 2000
  lorakit dataset layout datasets/maya --rename maya_char=maya_v2
  lorakit dataset layout datasets/maya --split maya_char=maya_face:close_*
  lorakit dataset layout datasets/maya --merge maya_face=maya_char
  lorakit dataset layout datasets/maya --undo
  lorakit dataset layout datasets/maya --to-toml dataset.toml
  lorakit dataset layout datasets/maya --from-toml their.toml     # copies, moves nothing
  lorakit dataset layout datasets/maya --reg woman=1              # a folder for class images

Every step is shown first and done with --write. What the recipe says in [dataset.subset.FOLDER]
follows its folder. Only folders that prepare has made are renamed; --force also renames folders of
your own images. Originals never move.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lorakit.cli.dataset.add import dataset_target
from lorakit.cli.terminal.dataset_target import Target, add_no_wait, writing
from lorakit.cli.terminal.next_step import next_for_dataset, say_next
from lorakit.dataset.build import subsets as arranging
from lorakit.dataset.captions.edit import Change
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.folder_names import FolderName, format_folder, parse_folder
from lorakit.dataset.rules import shown
from lorakit.dataset.share import kohya_toml as exchange
from lorakit.dataset.split import steps_sentence
from lorakit.errors import RecipeError, raise_on_errors
from lorakit.show import print_json, print_text, say, say_faults, table

# what changes something; everything else shows
ACTS = ("undo", "from_toml", "reg", "repeats", "rename", "merge", "split", "steps", "ratio")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("target", metavar="RECIPE|FOLDER", help="a recipe, or the dataset folder")
    about = "set the repeats of a subset; repeatable"
    add("--repeats", metavar="SUBSET=N", action="append", default=[], help=about)
    add("--steps", type=int, metavar="N", help="solve the repeats for so many steps in all")
    add("--epochs", type=int, metavar="N", help="of the run (default: the recipe's, else 10)")
    about = "images a step, accumulation included (default: the recipe's, else 1)"
    add("--batch", type=int, metavar="N", help=about)
    about = "the subsets' shares of an epoch (default: as they are)"
    add("--ratio", nargs="+", default=[], metavar="SUBSET=WEIGHT", help=about)
    add("--rename", metavar="SUBSET=TOKENS", help="other class tokens")
    add("--merge", metavar="SUBSET=OTHER", help="all images of one subset into another")
    about = "the images whose names match into a subset of their own"
    add("--split", metavar="SUBSET=TOKENS:PATTERN", help=about)
    add("--reg", metavar="CLASS=N", help="make a regularisation folder beside the dataset")
    add("--undo", action="store_true", help="take the last step back")
    add("--to-toml", metavar="FILE", help="write kohya's dataset TOML (- for the screen)")
    add("--from-toml", metavar="FILE", type=Path, help="make folders of a dataset TOML")
    about = "also rename folders of images that lorakit did not make"
    add("--force", action="store_true", help=about)
    add("--write", action="store_true", help="do what is shown")
    add("--dry-run", action="store_true", help="show what would be (the default)")
    add_no_wait(parser)
    add("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    target = dataset_target(args)
    if args.to_toml:
        return _to_toml(target, args)
    asked = any(getattr(args, word) for word in ACTS)
    args.write = args.write and not args.dry_run
    writes = (args.undo or args.write) and asked
    with writing(args, target.root, "layout", when=writes and target.root.is_dir()):
        _act(target, args)
    if writes or not asked:
        _show(target, args)
    else:
        say("Nothing was changed; --write does it.")
        return 0
    if not args.json:
        say_next(*next_for_dataset(target, args.target))
    return 0


def _act(target: Target, args: argparse.Namespace) -> None:
    if args.undo:
        say(f"Undone: {arranging.undo(target.root)}")
    elif args.from_toml:
        _from_toml(target, args)
    elif args.reg:
        _reg(target, args)
    else:
        step = _step(target, args)
        if step is not None:
            _do(target, step, args)


def _step(target: Target, args: argparse.Namespace) -> arranging.Step | None:
    """The one thing that was asked for."""
    root = target.root
    asked = [word for word in ("repeats", "rename", "merge", "split") if getattr(args, word)]
    asked += ["steps"] if args.steps or args.ratio else []
    if len(asked) > 1:
        raise RecipeError(f"--{' and --'.join(asked)} at once: one thing at a time.")
    if args.rename:
        return arranging.rename(root, *_pair(args.rename, "--rename"))
    if args.merge:
        return arranging.merge(root, *_pair(args.merge, "--merge"))
    if args.split:
        name, to = _pair(args.split, "--split")
        tokens, _, pattern = to.partition(":")
        return arranging.rename(root, name, tokens, pattern or "*")
    if args.repeats:
        pairs = dict(_pair(word, "--repeats") for word in args.repeats)
        wanted = {arranging.find(root, name): _number(n, "--repeats") for name, n in pairs.items()}
        return arranging.set_repeats(root, wanted)
    if not asked:
        return None
    trained = [subset for subset in target.scan().subsets if not subset.is_reg]
    own = target.resolved
    fixed = own.get("max_train_steps") if own and not own.get("max_train_epochs") else None
    if args.steps and not args.epochs and fixed:
        what = f"the recipe says max_train_steps = {fixed}, whatever the repeats are."
        hint = f"Set {args.steps} there, or give --epochs to solve repeats for so many of them."
        raise RecipeError(f"--steps {args.steps}: {what}", hint=hint)
    return arranging.solved(
        root,
        trained,
        steps=args.steps,
        ratio=arranging.read_ratio(root, trained, args.ratio) if args.ratio else {},
        epochs=_epochs(target, args),
        per_step=_per_step(target, args),
    )


def _pair(word: str, option: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (name and equals and value):
        raise RecipeError(f"{option} {word!r}: write SUBSET=VALUE.")
    return name, value


def _number(word: str, option: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise RecipeError(f"{option}: {word!r} is not a number from 1 on.")
    return int(word)


def _epochs(target: Target, args: argparse.Namespace) -> int:
    known = target.resolved.get("max_train_epochs") if target.resolved else None
    return max(1, args.epochs or (known if isinstance(known, int) else 10))


def _per_step(target: Target, args: argparse.Namespace) -> int:
    if args.batch or target.resolved is None:
        return max(1, args.batch or 1)
    from lorakit.recipe.options import Options

    options = Options(target.resolved)
    return options.batch_size * options.accumulation * options.processes


def _do(target: Target, step: arranging.Step, args: argparse.Namespace) -> None:
    root = target.root
    unmanaged = arranging.unmanaged_folders(root, step)
    if unmanaged and not args.force and args.write:
        names = ", ".join(map(shown, unmanaged))
        raise RecipeError(
            f"{names}: holds images that lorakit did not make; nothing was moved.",
            hint=f'Set them in the recipe ([dataset.subset."{unmanaged[0]}"] num_repeats = ...), or'
            " add --force (--undo helps).",
        )
    step = _with_recipe(target, step)
    for source, to in step.moves[:20]:
        say(f"{shown(source)} -> {shown(to)}")
    for edited in step.edits:
        pairs = zip((edited.before or "").split("\n"), edited.after.split("\n"), strict=True)
        say(*(f"{shown(edited.path)}: {old} -> {new}" for old, new in pairs if old != new))
    if not step.moves:
        say("The folders are as they should be.")
    elif args.write:
        arranging.apply(root, step)
    elif len(step.renamed) == len(step.moves):
        say(_formula(target, args, _as_renamed(target.scan(), step.renamed)))


def _with_recipe(target: Target, step: arranging.Step) -> arranging.Step:
    """The step, and what the recipe says about the folders under their new names."""
    if target.resolved is None:
        return step
    from lorakit.recipe.folder_words import with_folders_renamed
    from lorakit.recipe.options import Options

    for old, new in step.renamed.items():
        said = Options(target.resolved).subset(old).get("num_repeats")
        if said is not None and _only_repeats(old, new):
            where = f"{target.resolved.file.name} [dataset.subset.{old}]"
            hint = "Change the number there: it decides, whatever the folder's name says."
            raise RecipeError(f"{where} num_repeats = {said} stands in the recipe.", hint=hint)
    file = target.resolved.file
    before, after = with_folders_renamed(file, step.renamed)
    edits = (Change(file, before, after),) if before != after else ()
    return replace(step, edits=edits)


def _only_repeats(old: str, new: str) -> bool:
    return old.partition("_")[2] == new.partition("_")[2]


def _as_renamed(facts: DatasetFacts, renamed: Mapping[str, str]) -> DatasetFacts:
    """As the folders will be read under their new names."""
    subsets = []
    for subset in facts.subsets:
        to = parse_folder(renamed.get(subset.path.name, subset.path.name))
        repeats = to.repeats if isinstance(to, FolderName) else subset.repeats
        subsets.append(replace(subset, repeats=repeats))
    return replace(facts, subsets=tuple(subsets))


def _from_toml(target: Target, args: argparse.Namespace) -> None:
    reg, suffix = _reg_root(target), target.caption_extension
    copies, notes = exchange.read_toml(
        args.from_toml, root=target.root, reg=reg, caption_extension=suffix
    )
    raise_on_errors(notes)
    say_faults(notes)
    if not args.write:
        say(*(f"{shown(copy.source)} -> {shown(copy.to)}" for copy in copies))
    else:
        say(f"{exchange.do_copies(copies)} files copied, {len(copies)} in all.")


def _to_toml(target: Target, args: argparse.Namespace) -> int:
    options: dict[str, object] = {}
    if target.resolved is not None:
        from lorakit.recipe.options import Options
        from lorakit.trainers.run_files import dataset_table

        options = dataset_table(Options(target.resolved))
    text = exchange.to_toml(target.scan(), target.caption_extension, options)
    if args.to_toml == "-" or args.dry_run:
        print_text(text, end="")
        return 0
    from lorakit.files import write_atomic, write_new

    path = Path(args.to_toml)
    try:
        (write_atomic if args.force else write_new)(path, text)
    except FileExistsError:
        hint = "--force replaces it."
        raise RecipeError(f"{shown(path)} is there already.", hint=hint) from None
    say(f"wrote {shown(path)}")
    return 0


def _reg_root(target: Target) -> Path:
    return target.reg or target.root.with_name(f"{target.root.name}_reg")


def _reg(target: Target, args: argparse.Namespace) -> None:
    name, number = _pair(args.reg, "--reg")
    folder = _reg_root(target) / format_folder(_number(number, "--reg"), name)
    if args.write:
        folder.mkdir(parents=True, exist_ok=True)
    more = "." if target.reg else f', and set reg_path = "{_reg_root(target)}" in [dataset].'
    say(f"{shown(folder)}: put images of the class there{more}")


def _show(target: Target, args: argparse.Namespace) -> None:
    """The table of subsets and one line of arithmetic: the plan's own where there is a recipe."""
    facts = target.scan()
    draws = [(subset, subset.repeats * len(subset.images)) for subset in facts.subsets]
    total = sum(count for subset, count in draws if not subset.is_reg) or 1
    if args.json:
        subsets = [
            {
                "folder": subset.path.name,
                "repeats": subset.repeats,
                "class_tokens": subset.class_tokens,
                "images": len(subset.images),
                "draws": count,
                "reg": subset.is_reg,
            }
            for subset, count in draws
        ]
        formula = _formula(target, args, facts)
        print_json({"root": facts.root, "formula": formula, "subsets": subsets})
        return
    rows = [
        (
            shown(subset.path.name),
            subset.repeats,
            len(subset.images),
            subset.captioned,
            count,
            "reg" if subset.is_reg else f"{count / total:.0%}",
        )
        for subset, count in draws
    ]
    numbers = ["repeats", "images", "captioned", "samples", "share"]
    table(["subset", *numbers], rows, right=numbers)
    if facts.subsets:
        say(_formula(target, args, facts))


def _formula(target: Target, args: argparse.Namespace, facts: DatasetFacts) -> str:
    if target.resolved is not None and not args.epochs and not args.batch:
        from lorakit.plan.steps import count_steps
        from lorakit.recipe.options import Options

        return count_steps(Options(target.resolved), facts)[0].formula
    epochs, per_step = _epochs(target, args), _per_step(target, args)
    trained = [subset for subset in facts.subsets if not subset.is_reg]
    terms = [(subset.repeats, len(subset.images)) for subset in trained]
    return steps_sentence(terms, epochs, per_step)
