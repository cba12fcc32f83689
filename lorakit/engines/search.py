"""A search: Optuna names the next points of a sweep by what the records say of the others. Its
study is made from them each time, and kept in search.log for Optuna's own tools.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from lorakit.engines import sweep as sweeps
from lorakit.engines.halving import loss_at
from lorakit.engines.points import RANGE, Said, Varied, read_variations
from lorakit.errors import RecipeError, SetupError
from lorakit.files import into_place, write_atomic
from lorakit.owner import own
from lorakit.proof.lock import lock_path

FIRST = 10  # points that the sampler draws without looking at results
ENDED = frozenset({"done", "failed", "broken"})
TRIES = 30  # draws beyond those wanted: some have been drawn before, some cannot be planned


class Search:
    """What it draws depends on the seed and on the points that are known, on nothing else."""

    def __init__(self, varied: Varied, seed: int | None, log: Path | None = None) -> None:
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend, JournalStorage
        except ImportError:
            hint = "pip install 'lorakit[sweep]'"
            raise SetupError("--search is Optuna's work, which is not here.", hint=hint) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(log))) if log else None
        self.study = optuna.create_study(storage=storage, study_name="search")
        self.optuna, self.seed, self.taken = optuna, seed or 0, set[Said]()
        self.space = {key: self._among(values) for key, values in varied.items()}

    def _among(self, values: Sequence[str]) -> Any:
        of, found = self.optuna.distributions, RANGE.fullmatch(",".join(values))
        if not found:
            return of.CategoricalDistribution(values)
        low, high = map(float, found.groups())
        whole = "e" not in values[0] and low.is_integer() and high.is_integer()
        kind, number = (of.IntDistribution, int) if whole else (of.FloatDistribution, float)
        return kind(number(low), number(high), log=low > 0 and high >= 10 * low)

    def tell(self, results: Sequence[sweeps.PointResult]) -> None:
        """By the best measure that all finished points have."""
        measure = sweeps.measure_of([one for one in results if one.state == "done"])
        for one in results:
            said = dict(word.split("=", 1) for word in one.point.asked)
            value = loss_at(one, 1.0) if measure == "loss" else getattr(one, measure)
            done = one.state == "done" and value is not None
            state = "COMPLETE" if done else "FAIL" if one.state in ENDED else "RUNNING"
            told = self.optuna.trial.create_trial(
                state=self.optuna.trial.TrialState[state],
                value=value if done else None,
                params={key: _param(of, said[key]) for key, of in self.space.items()},
                distributions=self.space,
                user_attrs={"point": one.point.name, "measure": measure},
            )
            self.study.add_trial(told)
            self.taken.add(one.point.asked)

    def draw(self, tries: int) -> Iterator[Said]:
        """Points that nobody has asked for yet, as words of --set."""
        for _ in range(tries):
            seed = self.seed + len(self.study.trials)
            self.study.sampler = self.optuna.samplers.TPESampler(
                n_startup_trials=FIRST, constant_liar=True, seed=seed
            )
            drawn = self.study.ask(self.space).params
            said = tuple(f"{key}={_text(of, drawn[key])}" for key, of in self.space.items())
            if said not in self.taken:
                self.taken.add(said)
                yield said


def _text(of: Any, value: object) -> str:
    """Three digits are enough, where these are not outside of the range."""
    if isinstance(value, float) and of.low <= float(f"{value:.3g}") <= of.high:
        return f"{value:.3g}"
    return str(value)


def _param(of: Any, text: str) -> object:
    return text if hasattr(of, "choices") else type(of.low)(text)


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
        names = (f"{sweep.name}-{n:02}.toml" for n in count(1))
        free = next(n for n, one in enumerate(names, 1) if not (folder / one).exists())
        with into_place(folder / "search.log") as beside:
            search = Search(read_variations(sweep.vary), sweep.seed, beside)
            search.tell(results)
            for said in search.draw(wanted + TRIES):
                number = free + len(planned)
                with suppress(RecipeError):
                    planned += sweeps.plan_points(first, sweep.name, [said], first=number)
                if len(planned) == wanted:
                    break
        sweeps.write_points(folder, planned, locked=lock_path(first).is_file())
        sweep = replace(sweep, points=(*sweep.points, *(one.point for one in planned)))
        write_atomic(folder / sweeps.MANIFEST, sweep.as_text())
        return sweep
