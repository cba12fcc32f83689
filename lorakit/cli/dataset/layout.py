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

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import Target, read_target, writing
from lorakit.cli.terminal.next_step import next_for_dataset, say_next
from lorakit.dataset.build import subsets as arranging
from lorakit.dataset.captions.edit import Change
from lorakit.dataset.facts import DatasetFacts, format_folder, parse_folder
from lorakit.dataset.rules import shown
from lorakit.dataset.share import kohya_toml as exchange
from lorakit.dataset.split import steps_sentence
from lorakit.errors import RecipeError, raise_on_errors
from lorakit.files import write_atomic, write_or_refuse
from lorakit.plan.steps import count_steps
from lorakit.recipe.document import with_folders_renamed
from lorakit.show import print_json, print_text, say, say_faults, table
from lorakit.trainers.run_files import dataset_table

# what changes something; everything else shows
ACTS = ("undo", "from_toml", "reg", "repeats", "rename", "merge", "split", "steps", "ratio")


def add_arguments(parser: Parser) -> None:
    parser.dataset()
    parser.many("--repeats", "SUBSET=N", "set the repeats of a subset; repeatable")
    parser.number("--steps", "N", "solve the repeats for so many steps in all")
    parser.number("--epochs", "N", "of the run (default: the recipe's, else 10)")
    about = "images a step, accumulation included (default: the recipe's, else 1)"
    parser.number("--batch", "N", about)
    about = "the subsets' shares of an epoch (default: as they are)"
    parser.value("--ratio", "SUBSET=WEIGHT", about, nargs="+", default=[])
    parser.value("--rename", "SUBSET=TOKENS", "other class tokens")
    parser.value("--merge", "SUBSET=OTHER", "all images of one subset into another")
    about = "the images whose names match into a subset of their own"
    parser.value("--split", "SUBSET=TOKENS:PATTERN", about)
    parser.value("--reg", "CLASS=N", "make a regularisation folder beside the dataset")
    parser.flag("--undo", "take the last step back")
    parser.value("--to-toml", "FILE", "write kohya's dataset TOML (- for the screen)")
    parser.path("--from-toml", "FILE", "make folders of a dataset TOML")
    parser.flag("--force", "also rename folders of images that lorakit did not make")
    parser.flag("--write", "do what is shown")
    parser.flag("--dry-run", "show what would be (the default)")
    parser.no_wait()
    parser.json()


def run(args: Arguments) -> None:
    target = read_target(args.target, new=True)
    if args.to_toml:
        _to_toml(target, args)
        return
    asked = any(getattr(args, word) for word in ACTS)
    args.write = args.write and not args.dry_run
    writes = (args.undo or args.write) and asked
    with writing(args, target.root, "layout", when=writes and target.root.is_dir()):
        if args.undo:
            say(f"Undone: {arranging.undo(target.root)}")
        elif args.from_toml:
            _from_toml(target, args)
        elif args.reg:
            _reg(target, args)
        elif step := _step(target, args):
            _do(target, step, args)
    if asked and not writes:
        say("Nothing was changed; --write does it.")
        return
    _show(target, args)
    if not args.json:
        say_next(*next_for_dataset(target))


def _step(target: Target, args: Arguments) -> arranging.Step | None:
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
    trained = target.scan().trained
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


def _epochs(target: Target, args: Arguments) -> int:
    known = target.resolved.get("max_train_epochs") if target.resolved else None
    return max(1, args.epochs or (known if isinstance(known, int) else 10))


def _per_step(target: Target, args: Arguments) -> int:
    options = target.options
    if args.batch or options is None:
        return max(1, args.batch or 1)
    return options.batch_size * options.accumulation * options.processes


def _do(target: Target, step: arranging.Step, args: Arguments) -> None:
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
    options = target.options
    if options is None:
        return step
    file = options.resolved.file
    for old, new in step.renamed.items():
        said = options.subset(old).get("num_repeats")
        if said is not None and old.partition("_")[2] == new.partition("_")[2]:
            where = f"{file.name} [dataset.subset.{old}]"
            hint = "Change the number there: it decides, whatever the folder's name says."
            raise RecipeError(f"{where} num_repeats = {said} stands in the recipe.", hint=hint)
    before, after = with_folders_renamed(file, step.renamed)
    edits = (Change(file, before, after),) if before != after else ()
    return replace(step, edits=edits)


def _as_renamed(facts: DatasetFacts, renamed: Mapping[str, str]) -> DatasetFacts:
    """As the folders will be read under their new names."""
    subsets = []
    for subset in facts.subsets:
        to = parse_folder(renamed.get(subset.path.name, subset.path.name))
        repeats = to.repeats if to else subset.repeats
        subsets.append(replace(subset, repeats=repeats))
    return replace(facts, subsets=tuple(subsets))


def _from_toml(target: Target, args: Arguments) -> None:
    reg, suffix = _reg_root(target), target.caption_extension
    copies, notes = exchange.read_toml(
        args.from_toml, root=target.root, reg=reg, caption_extension=suffix
    )
    raise_on_errors(notes)
    say_faults(notes)
    if not args.write:
        say(*(f"{shown(source)} -> {shown(to)}" for source, to in copies))
    else:
        say(f"{exchange.do_copies(copies)} files copied, {len(copies)} in all.")


def _to_toml(target: Target, args: Arguments) -> None:
    options = dataset_table(target.options) if target.options else {}
    text = exchange.to_toml(target.scan(), target.caption_extension, options)
    if args.to_toml == "-" or args.dry_run:
        print_text(text, end="")
        return
    path = Path(args.to_toml)
    if args.force:
        write_atomic(path, text)
    else:
        write_or_refuse(path, text, "--force replaces it.")
    say(f"wrote {shown(path)}")


def _reg_root(target: Target) -> Path:
    return target.reg or target.root.with_name(f"{target.root.name}_reg")


def _reg(target: Target, args: Arguments) -> None:
    name, number = _pair(args.reg, "--reg")
    folder = _reg_root(target) / format_folder(_number(number, "--reg"), name)
    if args.write:
        folder.mkdir(parents=True, exist_ok=True)
    more = "." if target.reg else f', and set reg_path = "{_reg_root(target)}" in [dataset].'
    say(f"{shown(folder)}: put images of the class there{more}")


def _show(target: Target, args: Arguments) -> None:
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


def _formula(target: Target, args: Arguments, facts: DatasetFacts) -> str:
    if target.options and not args.epochs and not args.batch:
        return count_steps(target.options, facts)[0].formula
    epochs, per_step = _epochs(target, args), _per_step(target, args)
    terms = [(subset.repeats, len(subset.images)) for subset in facts.trained]
    return steps_sentence(terms, epochs, per_step)
