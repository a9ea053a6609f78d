"""Hyperparameter searches: trials one after another, each an ordinary run with a validation score."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from statistics import fmean

from filelock import Timeout
from omegaconf import DictConfig

from mtlbench.experiment.annotations import tags_of
from mtlbench.experiment.check import check_config
from mtlbench.experiment.data import open_or_prepare
from mtlbench.experiment.objects import build_settings
from mtlbench.experiment.run import BusyError, make_paths_absolute, train
from mtlbench.experiment.tuned import may_be_tuned
from mtlbench.locking import locked
from mtlbench.reproduce.plan import Compose, PlannedRun, plan_run
from mtlbench.result import Metrics
from mtlbench.tracking.files import DamagedFileError
from mtlbench.tracking.folder import RESULT, read_result
from mtlbench.tracking.journal import Journal
from mtlbench.train import checkpoint
from mtlbench.train.convergence import validation_curves
from mtlbench.train.interrupt import Interrupted
from mtlbench.train.selection import named_units
from mtlbench.tuning.space import Space, as_words
from mtlbench.tuning.trials import DATABASE, Method, Record, Suggestion, Trial

_log = logging.getLogger(__name__)

FAILURES = (ValueError, ArithmeticError, MemoryError)
"""Errors that fail a trial: incompatible settings, a loss that is not finite, too large a model."""


class PrunedError(Interrupted):
    """The pruner stopped a trial; its run can be resumed from its checkpoint."""


class NothingFoundError(ArithmeticError):
    """All trials of a study failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Untuned:
    """The run of the untuned settings, trained before the trials; it is not a trial.

    Attributes:
        run: its identity.
        score: its best validation score, higher is better; ``None`` if it failed.
        steps, seconds: what it took.
        reason: why it failed.
    """

    run: str
    score: float | None = None
    steps: int = 0
    seconds: float = 0.0
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """A search: a model on a data set, with a search space and a method.

    Attributes:
        words: overrides of all trials.
        base: the run with these overrides only, without any searched setting.
        space, method: see `mtlbench.tuning.space` and `Method`.
        name: name of the study: model, data set, and a hash of everything that its trials depend on.
    """

    words: tuple[str, ...]
    base: PlannedRun
    space: Space
    method: Method
    name: str

    @property
    def model(self) -> str:
        return self.base.config.run.choices.model

    @property
    def runs(self) -> Path:
        """The folder of the runs."""
        return self.base.folder.parent

    @property
    def fixed(self) -> list[str]:
        """The user's overrides that are written to a tuned file."""
        return [word for word in self.words if may_be_tuned(word)]


def plan_search(words: Sequence[str], config: DictConfig, space: Space, method: Method) -> Search:
    """Plan a search over a configuration that was composed from `words`.

    The number of trials is not part of the study, so that a search can be continued with more trials.

    Raises:
        ConfigError, RawError: the configuration or the raw files cannot be used.
    """
    check_config(config)
    make_paths_absolute(config)
    base = plan_run("tuning", config.run.choices.dataset, config)
    content = {
        "run": base.identity,
        "space": {key: values.model_dump(mode="json") for key, values in sorted(space.items())},
        "method": [method.sampler, method.pruner, method.seed],
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{base.dataset}-{config.run.choices.model}-{digest}"
    return Search(words=tuple(words), base=base, space=space, method=method, name=name)


def search(
    plan: Search, trials: int, compose: Compose, show: Callable[[Trial | Untuned], None]
) -> tuple[Record, Untuned]:
    """Train the untuned settings, then run the missing trials of a study; trials that have already ended are kept.

    Args:
        plan: the search.
        trials: total number of trials.
        compose: composes a configuration from overrides.
        show: called with the untuned run, and with each trial when it ends.

    Raises:
        BusyError: another process is running this study.
        OSError: an I/O error; the trial is repeated when the search is run again.
        Interrupted: a signal arrived; the trial resumes from its checkpoint when the search is run again.
    """
    plan.runs.mkdir(parents=True, exist_ok=True)
    try:
        with locked(plan.runs / f"{plan.name}.lock", timeout=0):
            open_or_prepare(plan.base.data)  # so that a problem with the data does not fail a trial
            show(untuned := _untuned(plan))
            record = Record(plan.runs, plan.name)
            while len(record.history) < trials:
                suggestion = Suggestion(record.history, plan.space, plan.method)
                trial = _carried_out(plan, suggestion, compose)
                record.add(suggestion.ended(trial))
                show(trial)
            return record, untuned
    except Timeout as error:
        raise BusyError(f"another process is searching {plan.name} in {plan.runs / DATABASE}") from error


def _untuned(plan: Search) -> Untuned:
    config = plan.base.own_config
    try:
        outcome = train(config)
    except (DamagedFileError, checkpoint.CheckpointError):
        raise
    except FAILURES as error:
        return Untuned(run=plan.base.identity, reason=f"{type(error).__name__}: {error}")
    _, score = best_so_far(outcome.folder, config)[-1]
    result = outcome.result
    return Untuned(run=result.identity, score=score, steps=result.steps, seconds=result.seconds)


def _carried_out(plan: Search, suggestion: Suggestion, compose: Compose) -> Trial:
    words = as_words(suggestion.params)
    ended = Trial(number=suggestion.number, state="failed", words=tuple(words))
    _log.info(f"trial {ended.number}: {' '.join(words)}")
    try:
        config = compose([*plan.words, *words])
        config.run.tags = {**tags_of(config), "study": plan.name, "trial": str(ended.number)}
        make_paths_absolute(config)
        run = plan_run(f"trial {ended.number}", plan.base.dataset, config)
        ended = replace(ended, run=run.identity)
        pruned = _trained(run, suggestion)
        curve = best_so_far(run.folder, config)
    except (DamagedFileError, checkpoint.CheckpointError):  # caused by files, not by settings
        raise
    except FAILURES as error:
        return replace(ended, reason=f"{type(error).__name__}: {error}")
    evaluations = pruned or len(curve)
    step, score = curve[evaluations - 1]
    return replace(
        ended,
        state="complete" if pruned is None else "pruned",
        score=score,
        evaluations=evaluations,
        steps=step,
        seconds=_seconds(run.folder),
    )


def _trained(run: PlannedRun, suggestion: Suggestion) -> int | None:
    """Run a trial; returns the evaluations after which it was pruned, or ``None`` if its run has finished.

    Pruning is decided from the run's journal, evaluation by evaluation. So the decision is the same if the run was
    killed between an evaluation and the decision, or was already finished.
    """

    def judged(folder: Path) -> int | None:
        return suggestion.pruned_after([score for _, score in best_so_far(folder, run.config)])

    def stop(folder: Path) -> None:
        if evaluations := judged(folder):
            raise PrunedError(f"pruned after {evaluations} evaluations, trial {suggestion.number} of a search")

    with suppress(PrunedError):
        train(run.config, after_evaluation=stop)
    return judged(run.folder)


def best_so_far(folder: Path, config: DictConfig) -> list[tuple[int, float]]:
    """Step and best validation score so far at each evaluation of a run; with a score per task, their mean.

    Args:
        folder: the run's folder.
        config: the run's configuration.
    """
    lines = Journal(folder).read()
    names = dict.fromkeys(task for line in lines for task in Metrics(values=line.values).of_split("valid").tasks)
    curves = validation_curves(named_units(tuple(names), build_settings(config)), lines)
    steps = [step for step, _ in next(iter(curves.values()))]
    bests = [accumulate((score for _, score in curve), max) for curve in curves.values()]
    return [(step, fmean(scores)) for step, *scores in zip(steps, *bests, strict=True)]


def _seconds(folder: Path) -> float:
    """The cost of a run: in total if it has finished, otherwise up to its last checkpoint."""
    if (folder / RESULT).exists():
        return read_result(folder).seconds
    return checkpoint.load(folder / "last.pt", identity=folder.name)["progress"]["spent"]
