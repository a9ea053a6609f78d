"""Which runs a table or a figure consists of, and which of them are finished."""

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

from omegaconf import DictConfig, OmegaConf

from mtlbench.data.layout import ROWS
from mtlbench.experiment.data import DataSource, resolve_data, split_rule
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.identity import refers_to_seed, run_identities, with_seed, with_seeds
from mtlbench.ingest.protocol import RawDataset
from mtlbench.reproduce.carry_over import FEWER, CarriedOver, carry_over
from mtlbench.reproduce.table import RowSpec

SMALLEST = 20_000
"""Rows below which a scaled run says nothing: its test split would hold too few positives."""

Compose = Callable[[list[str]], DictConfig]


class Study(Protocol):
    """What a table and a figure have in common: rows by data sets by seeds, under one profile."""

    @property
    def name(self) -> str: ...
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
        config: its whole configuration; runs that differ in their seed alone may share it, see `own_config`.
        data: that it learns from.
        identity: of the run.
        folder: where it is or will be.
        rows: training rows that it will see in an epoch, as far as that is known before they are prepared.
        paper_steps: that its setting makes of the published rows, where it makes fewer, see `CarriedOver`.
        carried_over: settings that were changed for other data than the paper's, as sentences.
        alike: identities of runs that measure the same, and perhaps more, see `mtlbench.reproduce.share`.
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
    alike: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        return (self.folder / "result.json").exists()

    def rows_at_most(self, epoch: int) -> int:
        """Training rows of the whole budget, where an epoch has so many."""
        trainer = self.config.trainer
        by_epochs = None if trainer.epochs is None else epoch * trainer.epochs
        by_steps = None if trainer.steps is None else trainer.steps * trainer.batch_size
        return min(rows for rows in (by_epochs, by_steps) if rows is not None)

    @property
    def own_config(self) -> DictConfig:
        """A copy of the configuration with the run's own seed; made when it runs, since a copy takes 10 ms."""
        return with_seed(self.config, self.seed)

    @property
    def title(self) -> str:
        return f"{self.row}, {self.dataset}, seed {self.seed}"


def plan_run(row: str, dataset: str, config: DictConfig) -> PlannedRun:
    """The run that a configuration means.

    Raises:
        ConfigError, RawError: the configuration or the raw files cannot be used.
    """
    (run,) = _of_seeds(CarriedOver(config=config), [_data_of(config)], [config.seed])
    return replace(run, row=row, dataset=dataset)


def expand(
    studies: Sequence[Study],
    compose: Compose,
    overrides: Sequence[str],
    *,
    scale: float | None,
    seeds: int | None = None,
    same_steps: bool = False,
) -> list[list[PlannedRun]]:
    """All runs of each table or figure: rows by data sets by seeds.

    Rows whose overrides say the same are the same runs (`PlannedRun.identity`), also between tables and figures.

    Args:
        studies: to reproduce.
        compose: makes a configuration of overrides.
        overrides: the user's, stronger than its own.
        scale: share of the published rows to simulate; ``None`` runs all there are.
        seeds: how many of its seeds at most, from the first; default: all, and one where it is scaled.
        same_steps: on simulated data, train as many steps as the published rows make, see `carry_over`.

    Raises:
        ConfigError, RawError: the configuration or the raw files of a row cannot be used.
    """
    known: dict[str, DataSource] = {}

    def data_of(config: DictConfig) -> DataSource:
        """`_data_of`, once for all configurations whose data sets say the same."""
        if isinstance(config.dataset.get("schema"), str):  # the name of a file that is read into this configuration
            return _data_of(config)
        split_rule(config.dataset)  # says what is wrong with it better than resolving it would
        said = repr((config.run.data, OmegaConf.to_container(config.dataset, resolve=True)))
        return known.get(said) or known.setdefault(said, _data_of(config))

    @cache  # of a row's overrides, only those of its data count here
    def smaller(*words: str) -> list[str]:
        return [] if scale is None else _scaled(compose(list(words)), scale)

    @cache  # a quarter of the cells of all tables and figures say the same as another one
    def of_cell(data_words: tuple[str, ...], own: tuple[str, ...], several: range) -> list[PlannedRun]:
        size = smaller(*data_words, *(word for word in own if word.startswith("dataset")))
        config = compose([*data_words, *own, *size, *overrides])
        data = data_of(config)
        published = published_rows(data) if data.origin == "simulated" else 0
        carried = carry_over(config, data, published, [*data_words, *own, *overrides], same_steps=same_steps)
        if len(several) > 1 and refers_to_seed(config.dataset):
            each = [data_of(own) for own in with_seeds(config, several)]
        else:
            each = [data] * len(several)
        return _of_seeds(carried, each, several)

    def of_study(study: Study) -> Iterator[PlannedRun]:
        several = range(min(study.seeds, seeds or (study.seeds if scale is None else 1)))
        for spec in study.rows:
            for dataset, words in study.datasets.items():
                data_words = (f"profile={study.profile}", *words)
                with _errors_of(f"{study.name}, row {spec.label!r}, {dataset}"):
                    own = of_cell(data_words, tuple(spec.overrides), several)
                    others = of_cell(data_words, tuple(spec.same_as), several) if spec.same_as else own
                for run, other in zip(own, others, strict=True):
                    alike = run.alike if other is run else (*run.alike, other.identity, *other.alike)
                    yield replace(run, row=spec.label, dataset=dataset, alike=alike)

    return [[*of_study(study)] for study in studies]


@contextmanager
def _errors_of(cell: str) -> Generator[None]:
    """Configuration errors say in which cell they are."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{cell}: {error}") from error


def _of_seeds(carried: CarriedOver, data: Sequence[DataSource], seeds: Sequence[int]) -> list[PlannedRun]:
    """The runs of one configuration with several seeds, each with the data that it learns from; not yet named."""
    config = carried.config
    folder = Path(config.run.folder)
    rows = {store: _training_rows(own) for store, own in {own.store: own for own in data}.items()}
    return [
        PlannedRun(
            row="",
            dataset="",
            seed=seed,
            config=config,
            data=own,
            identity=identity.own,
            folder=folder / identity.own,
            rows=rows[own.store],
            paper_steps=carried.steps,
            carried_over=carried.notes,
            alike=() if identity.own == identity.watched else (identity.watched,),
        )
        for seed, own, identity in zip(seeds, data, run_identities(config, data, seeds), strict=True)
    ]


def _data_of(config: DictConfig) -> DataSource:
    return resolve_data(config.dataset, Path(config.run.data))


def _scaled(config: DictConfig, scale: float) -> list[str]:
    """Overrides that make the data simulated and small: a share of the published rows, or of the simulator's."""
    from mtlbench.experiment.build import build

    rows = _published(build(config.dataset.reader, "dataset.reader")) or int(config.dataset.simulator.rows)
    return ["dataset.source=simulated", f"dataset.simulator.rows={max(SMALLEST, round(scale * rows))}"]


def _training_rows(data: DataSource) -> int | None:
    if data.store.exists():
        return json.loads((data.store / "manifest.json").read_text())["splits"]["train"]["rows"]
    if data.made_here:
        return int(data.config.simulator.rows)
    return published_rows(data) or None


def published_rows(data: DataSource) -> int:
    """Published number of training samples; 0 where nobody says."""
    return _published(data.reader)


def _published(reader: RawDataset) -> int:
    own = [file for file in reader.files if file.table == ROWS and file.part == "train"]
    return sum(file.published_samples or file.published_rows or 0 for file in own)


def other_data(planned: Sequence[PlannedRun]) -> list[str]:
    """What became of settings of a paper on data that are not the paper's: carried over, or short of steps."""
    texts: list[str] = []
    for run in planned:
        texts += [f"{run.dataset}: {note}" for note in run.carried_over]
        steps = -(-run.rows_at_most(run.rows or SMALLEST) // run.config.trainer.batch_size)
        if run.paper_steps is not None and steps < FEWER * run.paper_steps:
            texts.append(
                f"{run.dataset}: about {steps:,.0f} steps a run; the paper's setting makes {run.paper_steps:,} of the "
                "published rows (--same-steps)"
            )
    return list(dict.fromkeys(texts))


def missing(planned: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Runs that are not finished, each identity once."""
    return list({run.identity: run for run in planned if not run.finished}.values())
