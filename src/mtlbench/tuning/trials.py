"""Trials of an Optuna study: suggestions, pruning, and the record in SQLite.

A trial is stored once, when it has ended. Its settings are a function of the study's seed, its number and the earlier
trials: sampler and pruner are created for each trial, in an in-memory study with this history. So a search that is
killed at any moment gives the same trials when it is started again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from mtlbench.tuning.space import Space

DATABASE = "optuna.db"
"""File name of the SQLite database of all studies, in the folder of the runs."""

START = 5
"""Number of trials before TPE uses their scores and before the median pruner prunes."""

Sampler = Literal["tpe", "random"]
Pruner = Literal["median", "halving", "none"]
State = Literal["complete", "pruned", "failed"]

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """Search method: sampler and pruner.

    Attributes:
        sampler: ``tpe`` (tree-structured Parzen estimator, multivariate) or ``random``.
        pruner: ``median`` stops a trial whose best score so far is below the median of the earlier trials at the same
            evaluation; ``halving`` (asynchronous successive halving) continues a third of the trials after 1, 3, 9, ...
            evaluations; ``none``.
        seed: seed of the sampler.

    Paper: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011; Li et al., A System for Massively
        Parallel Hyperparameter Tuning, MLSys 2020.
    """

    sampler: Sampler
    pruner: Pruner
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A trial that has ended.

    Attributes:
        number: number of the trial, from 0.
        state: ``complete``, ``failed``, or ``pruned`` (stopped early, so its score is a lower bound).
        words: its searched overrides.
        score: its best validation score, higher is better; ``None`` if it failed.
        run: identity of its run.
        evaluations, steps: numbers until it ended or was pruned.
        seconds: duration of its run.
        reason: why it failed.
    """

    number: int
    state: State
    words: tuple[str, ...]
    score: float | None = None
    run: str = ""
    evaluations: int = 0
    steps: int = 0
    seconds: float = 0.0
    reason: str | None = None


class Suggestion:
    """The next trial of a study, before it has ended."""

    def __init__(self, history: Sequence[FrozenTrial], space: Space, method: Method) -> None:
        seed = int(np.random.SeedSequence([method.seed, len(history)]).generate_state(1)[0])
        self._study = optuna.create_study(
            direction="maximize", sampler=_sampler(method, seed), pruner=_pruner(method.pruner)
        )
        self._study.add_trials(history)
        self._trial = self._study.ask({key: values.distribution for key, values in space.items()})
        self.number = len(history)
        self._reported = 0
        self._pruned: int | None = None

    @property
    def params(self) -> Mapping[str, Any]:
        """Values by key, choices as JSON."""
        return self._trial.params

    def pruned_after(self, curve: Sequence[float]) -> int | None:
        """The number of evaluations after which the pruner stops this trial, or ``None``.

        Args:
            curve: best validation score after each evaluation so far; extended in later calls.
        """
        while self._pruned is None and self._reported < len(curve):
            self._reported += 1
            self._trial.report(curve[self._reported - 1], self._reported)
            if self._trial.should_prune():
                self._pruned = self._reported
        return self._pruned

    def ended(self, trial: Trial) -> FrozenTrial:
        """The trial as Optuna stores it."""
        self._trial.set_user_attr("trial", json.dumps(asdict(trial)))
        if trial.state == "complete":
            self._study.tell(self._trial, trial.score)
        else:
            self._study.tell(self._trial, state=TrialState.PRUNED if trial.state == "pruned" else TrialState.FAIL)
        return self._study.trials[-1]


class Record:
    """The ended trials of one study, in an SQLite database.

    Raises:
        OSError: the database cannot be read or written.
    """

    def __init__(self, runs: Path, name: str) -> None:
        self.path = runs / DATABASE
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{self.path}")
            self.study = optuna.create_study(
                study_name=name, storage=storage, direction="maximize", load_if_exists=True
            )
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
            raise self._unusable(error) from error

    @property
    def history(self) -> list[FrozenTrial]:
        """The trials as Optuna stores them, by number."""
        return self.study.trials

    @property
    def trials(self) -> list[Trial]:
        """The trials, by number."""
        return [_restored(json.loads(frozen.user_attrs["trial"])) for frozen in self.history]

    def add(self, frozen: FrozenTrial) -> None:
        """Store a trial, atomically."""
        try:
            self.study.add_trial(frozen)
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise self._unusable(error) from error

    def importances(self) -> dict[str, float]:
        """Importance of each key (PED-ANOVA) over complete trials, most important first; empty if undefined.

        Paper: Watanabe et al., PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces,
            IJCAI 2023.
        """
        complete = [frozen for frozen in self.history if frozen.state == TrialState.COMPLETE]
        if len({frozen.value for frozen in complete}) < START:
            return {}
        return optuna.importance.get_param_importances(self.study)

    def _unusable(self, error: Exception) -> OSError:
        problem = str(error).splitlines()[0]
        return OSError(
            f"{self.path} cannot be used as the database of studies: {problem}. Move it away to start the search over; "
            "finished runs are not trained again"
        )


def _restored(values: dict[str, Any]) -> Trial:
    words: Any = tuple(values["words"])
    return Trial(**(values | {"words": words}))


def _sampler(method: Method, seed: int) -> optuna.samplers.BaseSampler:
    if method.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=START)


def _pruner(name: Pruner) -> optuna.pruners.BasePruner:
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=START)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.NopPruner()
