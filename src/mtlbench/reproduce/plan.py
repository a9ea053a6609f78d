"""Which runs a table or a figure consists of, which of them are finished, and how long the others will take."""

import json
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Protocol

from omegaconf import DictConfig, OmegaConf

from mtlbench.data.layout import ROWS
from mtlbench.experiment.data import DataSource, resolve_data
from mtlbench.experiment.identity import run_identity
from mtlbench.ingest.protocol import RawFile
from mtlbench.reproduce.carry_over import FEWER, CarriedOver, carry_over
from mtlbench.reproduce.table import RowSpec
from mtlbench.tracking.files import DamagedFileError
from mtlbench.tracking.folder import read_result

SMALLEST = 20_000
"""Rows below which a scaled run says nothing: its test split would hold too few positives."""

Compose = Callable[[list[str]], DictConfig]


class Study(Protocol):
    """What a table and a figure have in common: rows by data sets by seeds, under one profile."""

    @property
    def profile(self) -> str: ...
    @property
    def seeds(self) -> int: ...
    @property
    def datasets(self) -> Mapping[str, list[str]]: ...
    @property
    def rows(self) -> tuple[RowSpec, ...]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """One run of a table, a figure or a sweep.

    Attributes:
        row, dataset, seed: where in it the run belongs.
        config: its whole configuration.
        data: that it learns from.
        identity: of the run.
        folder: where it is or will be.
        rows: training rows that it will see in an epoch, as far as that is known before they are prepared.
        paper_steps: that its setting makes of the published rows, where it makes fewer, see `CarriedOver`.
        carried_over: settings that were changed for other data than the paper's, as sentences.
    """

    row: str
    dataset: str
    seed: int
    config: DictConfig
    data: DataSource
    identity: str
    folder: Path
    rows: int | None
    paper_steps: int | None = None
    carried_over: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        return (self.folder / "result.json").exists()

    @property
    def title(self) -> str:
        return f"{self.row}, {self.dataset}, seed {self.seed}"


def plan_run(row: str, dataset: str, config: DictConfig) -> PlannedRun:
    """The run that a configuration means.

    Raises:
        ConfigError, RawError: the configuration or the raw files cannot be used.
    """
    return _of_data(row, dataset, config, resolve_data(config.dataset, Path(config.run.data)))


def expand(
    study: Study,
    compose: Compose,
    overrides: Sequence[str],
    *,
    scale: float | None,
    seeds: int | None = None,
    same_steps: bool = False,
) -> list[PlannedRun]:
    """All runs of a table or a figure: rows by data sets by seeds.

    Rows whose overrides say the same are the same runs (`PlannedRun.identity`), also between tables and figures.

    Args:
        study: to reproduce.
        compose: makes a configuration of overrides.
        overrides: the user's, stronger than its own.
        scale: share of the published rows to simulate; ``None`` runs all there are.
        seeds: how many of its seeds at most, from the first; default: all, and one where it is scaled.
        same_steps: on simulated data, train as many steps as the published rows make, see `carry_over`.
    """
    several = min(study.seeds, seeds or (study.seeds if scale is None else 1))

    @cache  # composing takes half a second, and of a row's overrides only those of its data count here
    def smaller(*words: str) -> list[str]:
        return [] if scale is None else _scaled(compose(list(words)), scale)

    planned: list[PlannedRun] = []
    for spec in study.rows:
        for dataset, words in study.datasets.items():
            of_data = [word for word in spec.overrides if word.startswith("dataset")]
            size = smaller(f"profile={study.profile}", *words, *of_data)
            said = [f"profile={study.profile}", *words, *spec.overrides, *size, *overrides]
            config = compose(said)
            data = resolve_data(config.dataset, Path(config.run.data))
            stated = [*words, *spec.overrides, *overrides]
            published = _samples(data.reader.files) if data.origin == "simulated" else 0
            carried = carry_over(config, data, published, stated, same_steps=same_steps)
            planned += _of_cell(spec.label, dataset, carried, data, several)
    return planned


def _of_cell(row: str, dataset: str, carried: CarriedOver, data: DataSource, seeds: int) -> list[PlannedRun]:
    configs = [with_seed(carried.config, seed) for seed in range(seeds)]
    runs = [_of_data(row, dataset, config, _own_data(config, carried.config, data)) for config in configs]
    return [replace(run, paper_steps=carried.steps, carried_over=carried.notes) for run in runs]


def _own_data(config: DictConfig, other: DictConfig, data: DataSource) -> DataSource:
    """The data of another seed, or data of a seed's own where the data set's configuration refers to it."""
    own, known = (OmegaConf.to_container(each.dataset, resolve=True) for each in (config, other))
    return data if own == known else resolve_data(config.dataset, Path(config.run.data))


def with_seed(config: DictConfig, seed: int) -> DictConfig:
    """A copy with another seed; composing once is enough."""
    own = config.copy()
    own.seed = seed
    return own


def _of_data(row: str, dataset: str, config: DictConfig, data: DataSource) -> PlannedRun:
    identity = run_identity(config, data)
    return PlannedRun(
        row=row,
        dataset=dataset,
        seed=config.seed,
        config=config,
        data=data,
        identity=identity,
        folder=Path(config.run.folder) / identity,
        rows=_training_rows(data),
    )


def _scaled(config: DictConfig, scale: float) -> list[str]:
    """Overrides that make the data simulated and small: a share of the published rows, or of the simulator's."""
    from mtlbench.experiment.build import build

    rows = _samples(build(config.dataset.reader, "dataset.reader").files) or int(config.dataset.simulator.rows)
    return ["dataset.source=simulated", f"dataset.simulator.rows={max(SMALLEST, round(scale * rows))}"]


def _training_rows(data: DataSource) -> int | None:
    if data.store.exists():
        return json.loads((data.store / "manifest.json").read_text())["splits"]["train"]["rows"]
    if data.made_here:
        return int(data.config.simulator.rows)
    return _samples(data.reader.files) or None


def _samples(files: Iterable[RawFile]) -> int:
    """Published number of training samples; 0 where nobody says."""
    return sum(f.published_samples or f.published_rows or 0 for f in files if f.table == ROWS and f.part == "train")


def other_data(planned: Sequence[PlannedRun]) -> list[str]:
    """What became of settings of a paper on data that are not the paper's: carried over, or short of steps."""
    texts: list[str] = []
    for run in planned:
        texts += [f"{run.dataset}: {note}" for note in run.carried_over]
        steps = -(-_rows_at_most(run) // run.config.trainer.batch_size)
        if run.paper_steps is not None and steps < FEWER * run.paper_steps:
            texts.append(
                f"{run.dataset}: about {steps:,.0f} steps a run; the paper's setting makes {run.paper_steps:,} of the "
                "published rows (--same-steps)"
            )
    return list(dict.fromkeys(texts))


def missing(planned: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Runs that are not finished, each identity once."""
    return list({run.identity: run for run in planned if not run.finished}.values())


def measured_speeds(folder: Path) -> dict[str, float]:
    """Rows per second of finished runs by model, the median over them."""
    speeds: dict[str, list[float]] = {}
    for path in folder.glob("*/result.json"):
        try:
            result = read_result(path.parent)
        except DamagedFileError:  # of a run that need not be one of these; where it is, `check_finished` says so
            continue
        speeds.setdefault(result.model, []).append(result.rows_per_second)
    return {model: median(several) for model, several in speeds.items()}


def estimated_seconds(runs: Sequence[PlannedRun], speeds: dict[str, float]) -> float | None:
    """How long runs may take at most (their whole budget), by the speeds measured so far; ``None`` if there are none.

    A model that was never run is taken to be as fast as the median of the others.
    """
    if not speeds:
        return None
    usual = median(speeds.values())
    total = 0.0
    for run in runs:
        model = typing.cast(str, OmegaConf.select(run.config, "run.choices.model"))
        total += _rows_at_most(run) / speeds.get(model, usual)
    return total


def _rows_at_most(run: PlannedRun) -> float:
    """Training rows of the whole budget."""
    trainer = run.config.trainer
    by_epochs = None if trainer.epochs is None else (run.rows or SMALLEST) * trainer.epochs
    by_steps = None if trainer.steps is None else trainer.steps * trainer.batch_size
    return min(rows for rows in (by_epochs, by_steps) if rows is not None)
