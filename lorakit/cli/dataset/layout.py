"""Subsets and their repeats: show, set, solve, rename, split, merge; and to or from kohya's dataset TOML.

  lorakit dataset layout datasets/maya                                     # the table and the arithmetic
  lorakit dataset layout recipes/maya.toml --repeats maya_char=40
  lorakit dataset layout recipes/maya.toml --steps 2000 --epochs 10 --ratio 4:1
  lorakit dataset layout datasets/maya --rename maya_char=maya_v2
  lorakit dataset layout datasets/maya --split maya_char=maya_face:close_*  # images whose names match
  lorakit dataset layout datasets/maya --merge maya_face=maya_char
  lorakit dataset layout datasets/maya --undo
  lorakit dataset layout datasets/maya --to-toml dataset.toml
  lorakit dataset layout datasets/maya --from-toml their.toml               # copies; nothing of theirs is touched
  lorakit dataset layout datasets/maya --reg woman=1                        # an empty regularisation folder

Only folders that prepare has made are renamed; --force also renames folders of your own images.
Originals never move.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from lorakit.cli.dataset.add import dataset_target
from lorakit.cli.terminal.dataset_target import Target
from lorakit.dataset.build import subsets as arranging
from lorakit.dataset.build.repeats import read_ratio, solve
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.folder_names import format_folder
from lorakit.dataset.rules import shown
from lorakit.dataset.share import kohya_toml as exchange
from lorakit.dataset.split import steps_sentence
from lorakit.errors import RecipeError, raise_on_errors
from lorakit.show import print_json, table, tell, tell_faults


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="RECIPE|FOLDER", help="a recipe, or the dataset folder")
    parser.add_argument(
        "--repeats",
        metavar="SUBSET=N",
        action="append",
        default=[],
        help="set the repeats of a subset; repeatable",
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="solve the repeats for so many steps in all"
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="of the run (default: the recipe's, else 10)"
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="images a step, accumulation included (default: the recipe's, else 1)",
    )
    parser.add_argument(
        "--ratio",
        default="",
        metavar="A:B",
        help="weights of the subsets' draws, in the order shown (default: as they are)",
    )
    parser.add_argument("--rename", metavar="SUBSET=TOKENS", help="other class tokens")
    parser.add_argument(
        "--merge", metavar="SUBSET=OTHER", help="all images of one subset into another"
    )
    parser.add_argument(
        "--split",
        metavar="SUBSET=TOKENS:PATTERN",
        help="the images whose names match into a subset of their own",
    )
    parser.add_argument(
        "--reg", metavar="CLASS=N", help="make a regularisation folder beside the dataset"
    )
    parser.add_argument("--undo", action="store_true", help="take the last step back")
    parser.add_argument(
        "--to-toml", metavar="FILE", help="write kohya's dataset TOML (- for the screen)"
    )
    parser.add_argument(
        "--from-toml", metavar="FILE", type=Path, help="make folders of a dataset TOML"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="also rename folders of images that lorakit did not make",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be, change nothing")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    target = dataset_target(args)
    if args.undo:
        tell(f"Undone: {arranging.undo(target.root)}")
    elif args.from_toml:
        _from_toml(target, args)
    elif args.to_toml:
        return _to_toml(target, args)
    elif args.reg:
        _reg(target, args)
    else:
        step = _step(target, args)
        if step is not None:
            _do(target.root, step, args)
            if args.dry_run:
                return 0
    _show(target, args)
    return 0


def _step(target: Target, args: argparse.Namespace) -> arranging.Step | None:
    """The one thing that was asked for."""
    root = target.root
    asked = [word for word in ("repeats", "rename", "merge", "split") if getattr(args, word)] + (
        ["steps"] if args.steps or args.ratio else []
    )
    if len(asked) > 1:
        raise RecipeError(f"--{' and --'.join(asked)} at once: one thing at a time.")
    if args.repeats:
        pairs = [_pair(word, "--repeats") for word in args.repeats]
        wrong = [number for _, number in pairs if not number.isdecimal() or int(number) < 1]
        if wrong:
            raise RecipeError(f"--repeats: {wrong[0]!r} is not a number from 1 on.")
        return arranging.set_repeats(
            root, {arranging.find(root, name): int(number) for name, number in pairs}
        )
    if args.steps or args.ratio:
        return _solved(target, args)
    for word in ("rename", "merge", "split"):
        if getattr(args, word):
            name, to = _pair(getattr(args, word), f"--{word}")
            tokens, _, pattern = to.partition(":") if word == "split" else (to, "", "*")
            if word == "merge":
                tokens = arranging.folders(root)[arranging.find(root, tokens)][1]
            elif any(other == tokens for _, other in arranging.folders(root).values()):
                raise RecipeError(
                    f"--{word}: there is a subset {tokens!r} already.",
                    hint=f"--merge {name}={tokens} puts them together.",
                )
            return arranging.move_images(root, arranging.find(root, name), tokens, pattern or "*")
    return None


def _pair(word: str, option: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (name and equals and value):
        raise RecipeError(f"{option} {word!r}: write SUBSET=VALUE.")
    return name, value


def _solved(target: Target, args: argparse.Namespace) -> arranging.Step:
    facts = _trained(target)
    images = [len(subset.images) for subset in facts.subsets]
    if not images:
        raise RecipeError(f"{target.root}: no subset with images; there is nothing to solve.")
    now = [subset.repeats * count for subset, count in zip(facts.subsets, images, strict=True)]
    epochs, per_step = _epochs(target, args), _per_step(target, args)
    ratio = read_ratio(args.ratio) if args.ratio else [float(draws) for draws in now]
    draws = args.steps * per_step / epochs if args.steps else float(sum(now))
    solution = solve(images, draws=draws, ratio=ratio, epochs=epochs, per_step=per_step)
    tell(solution.text(images, epochs, per_step))
    return arranging.set_repeats(
        target.root,
        {subset.path.name: n for subset, n in zip(facts.subsets, solution.repeats, strict=True)},
    )


def _trained(target: Target) -> DatasetFacts:
    facts = target.scan()
    return replace(facts, subsets=tuple(subset for subset in facts.subsets if not subset.is_reg))


def _epochs(target: Target, args: argparse.Namespace) -> int:
    known = target.resolved.get("max_train_epochs") if target.resolved else None
    return max(1, args.epochs or (known if isinstance(known, int) else 10))


def _per_step(target: Target, args: argparse.Namespace) -> int:
    if args.batch or target.resolved is None:
        return max(1, args.batch or 1)
    from lorakit.recipe.options import Options

    options = Options(target.resolved)
    return options.batch_size * options.accumulation * options.processes


def _do(root: Path, step: arranging.Step, args: argparse.Namespace) -> None:
    foreign = arranging.strangers(root, step)
    if foreign and not args.force and not args.dry_run:
        names = ", ".join(map(shown, foreign))
        raise RecipeError(
            f"{names}: holds images that lorakit did not make; nothing was moved.",
            hint=(
                f'Say it in the recipe ([dataset.subset."{foreign[0]}"] num_repeats = ...), or add'
                " --force (--undo helps)."
            ),
        )
    for source, to in step.moves[:20]:
        tell(f"{shown(source)} -> {shown(to)}")
    if not args.dry_run and (step.moves or step.subsets):
        arranging.apply(root, step)


def _from_toml(target: Target, args: argparse.Namespace) -> None:
    copies, notes = exchange.read_toml(
        args.from_toml,
        root=target.root,
        reg=_reg_root(target),
        caption_extension=target.caption_extension,
    )
    raise_on_errors(notes)
    tell_faults(notes)
    if args.dry_run:
        for copy in copies:
            tell(f"{shown(copy.source)} -> {shown(copy.to)}")
    else:
        tell(f"{exchange.do_copies(copies)} files copied, {len(copies)} in all.")


def _to_toml(target: Target, args: argparse.Namespace) -> int:
    options: dict[str, object] = {}
    if target.resolved is not None:
        from lorakit.plan.write import dataset_table
        from lorakit.recipe.options import Options

        options = dataset_table(Options(target.resolved))
    text = exchange.to_toml(target.scan(), target.caption_extension, options)
    if args.to_toml == "-" or args.dry_run:
        print(text, end="")
        return 0
    path = Path(args.to_toml)
    if path.exists() and not args.force:
        raise RecipeError(f"{shown(path)} is there already.", hint="--force replaces it.")
    from lorakit.files import write_atomic

    write_atomic(path, text)
    tell(f"wrote {shown(path)}")
    return 0


def _reg_root(target: Target) -> Path:
    return target.reg or target.root.with_name(f"{target.root.name}_reg")


def _reg(target: Target, args: argparse.Namespace) -> None:
    name, number = _pair(args.reg, "--reg")
    if not number.isdecimal():
        raise RecipeError(f"--reg: {number!r} is not a number from 1 on.")
    folder = _reg_root(target) / format_folder(int(number), name)
    if not args.dry_run:
        folder.mkdir(parents=True, exist_ok=True)
    more = "." if target.reg else f', and say reg_path = "{_reg_root(target)}" in [dataset].'
    tell(f"{shown(folder)}: put images of the class there{more}")


def _show(target: Target, args: argparse.Namespace) -> None:
    """The table of subsets and one line of arithmetic: the plan's own where there is a recipe."""
    facts = target.scan()
    draws = [subset.repeats * len(subset.images) for subset in facts.subsets]
    total = (
        sum(count for count, subset in zip(draws, facts.subsets, strict=True) if not subset.is_reg)
        or 1
    )
    if args.json:
        print_json(
            {
                "root": facts.root,
                "formula": _formula(target, args, facts),
                "subsets": [
                    {
                        "folder": subset.path.name,
                        "repeats": subset.repeats,
                        "class_tokens": subset.class_tokens,
                        "images": len(subset.images),
                        "draws": count,
                        "reg": subset.is_reg,
                    }
                    for subset, count in zip(facts.subsets, draws, strict=True)
                ],
            }
        )
        return
    table(
        ["subset", "repeats", "images", "captioned", "draws", "share"],
        [
            (
                shown(subset.path.name),
                subset.repeats,
                len(subset.images),
                subset.captioned,
                count,
                "reg" if subset.is_reg else f"{count / total:.0%}",
            )
            for subset, count in zip(facts.subsets, draws, strict=True)
        ],
        right=["repeats", "images", "captioned", "draws", "share"],
    )
    if facts.subsets:
        tell(_formula(target, args, facts))


def _formula(target: Target, args: argparse.Namespace, facts: DatasetFacts) -> str:
    if target.resolved is not None and not args.epochs and not args.batch:
        from lorakit.plan.steps import count_steps
        from lorakit.recipe.options import Options

        return count_steps(Options(target.resolved), facts)[0].formula
    epochs, per_step = _epochs(target, args), _per_step(target, args)
    trained = [subset for subset in facts.subsets if not subset.is_reg]
    terms = [(subset.repeats, len(subset.images)) for subset in trained]
    return steps_sentence(terms, epochs, per_step)
