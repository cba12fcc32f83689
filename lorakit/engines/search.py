"""A search: Optuna names the next points of a sweep by what the records say of the others. Its
study is made from them each time, and kept in search.log for Optuna's own tools.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.engines import sweep as sweeps
from lorakit.engines.halving import loss_at
from lorakit.engines.points import RANGE, Said, Varied, read_variations
from lorakit.errors import RecipeError, SetupError
from lorakit.files import into_place, write_atomic
from lorakit.owner import own
from lorakit.proof.lock import lock_path
from lorakit.recipe.layers import read_value

FIRST = 10  # points that the sampler draws without looking at results
ENDED = frozenset({"done", "failed", "broken"})
TRIES = 60  # draws at most: some have been drawn before, some cannot be planned


def drawn(
    varied: Varied, seed: int, results: Sequence[sweeps.PointResult] = (), log: Path | None = None
) -> Iterator[Said]:
    """New points as words of --set, by the seed and the results alone."""
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage
    except ImportError:
        hint = "pip install 'lorakit[sweep]'"
        raise SetupError("--search is Optuna's work, which is not here.", hint=hint) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(log))) if log else None
    study = optuna.create_study(storage=storage, study_name="search")
    space = {key: _among(values) for key, values in varied.items()}
    measure = sweeps.measure_of([one for one in results if one.state == "done"])
    for one in results:
        said = dict(word.split("=", 1) for word in one.point.asked)
        value = loss_at(one, 1.0) if measure == "loss" else getattr(one, measure)
        value = value if one.state == "done" else None
        ended = "FAIL" if one.state in ENDED else "RUNNING"
        told = optuna.trial.create_trial(
            state=optuna.trial.TrialState[ended if value is None else "COMPLETE"],
            value=value,
            params={
                key: said[key] if hasattr(of, "choices") else float(said[key])
                for key, of in space.items()
            },
            distributions=space,
            user_attrs={"point": one.point.name, "measure": measure},
        )
        study.add_trial(told)
    taken = {one.point.asked for one in results}
    for _ in range(TRIES):
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=FIRST, constant_liar=True, seed=seed + len(study.trials)
        )
        values = study.ask(space).params
        point = tuple(f"{key}={_text(of, values[key])}" for key, of in space.items())
        if point not in taken:
            taken.add(point)
            yield point


def _among(values: Sequence[str]) -> Any:
    from optuna import distributions as of

    found = RANGE.fullmatch(",".join(values))
    if not found:
        return of.CategoricalDistribution(values)
    low, high = map(read_value, found.groups())
    whole = isinstance(low, int) and isinstance(high, int)
    kind = of.IntDistribution if whole else of.FloatDistribution
    return kind(low, high, log=low > 0 and high >= 10 * low)


def _text(of: Any, value: object) -> str:
    """Three digits are enough, where these are not outside of the range."""
    short = f"{value:.3g}" if isinstance(value, float) else str(value)
    return short if hasattr(of, "choices") or of.low <= float(short) <= of.high else str(value)


def ask_points(folder: Path, at_once: int) -> sweeps.Sweep:
    """The sweep, with new points until so many have not ended; what cannot be planned is none."""
    with own(folder, "lorakit sweep run", named=folder.name, wait_s=60):
        sweep = sweeps.read_sweep(folder)
        results = sweeps.results_of(folder.parents[1], sweep)
        still_open = sum(one.state not in ENDED for one in results)
        wanted = min(at_once - still_open, sweep.search - len(results))
        if wanted <= 0:
            return sweep
        first, planned = folder / sweep.points[0].file, list[sweeps.PlannedPoint]()
        number = 1 + sum(".lock" not in one.suffixes for one in folder.glob("*.toml"))
        with into_place(folder / "search.log") as log:
            for said in drawn(read_variations(sweep.vary), sweep.seed or 0, results, log):
                with suppress(RecipeError):
                    planned += sweeps.plan_points(first, sweep.name, [said], first=number)
                    number += 1
                if len(planned) == wanted:
                    break
        sweeps.write_points(folder, planned, locked=lock_path(first).is_file())
        sweep = replace(sweep, points=(*sweep.points, *(one.point for one in planned)))
        write_atomic(folder / sweeps.MANIFEST, sweep.as_text())
        return sweep
