"""Python interface: train, load, list and reproduce from a script or a notebook.

Examples:
    >>> import mtlbench
    >>> run = mtlbench.train("model=mmoe", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=900",
    ...                      "trainer.epochs=1", "tracker=none", seed=0)
    >>> 0 < run.metrics["income/auc"] < 1
    True
    >>> len(run.curves["valid/income/auc"].dropna())
    1
    >>> mtlbench.runs("model=mmoe", "seed=0").index[0] == run.identity
    True

Overrides are those of the command line (``mtlbench train --help``); its error messages are raised as `ValueError`.
A configuration can name your own code only if ``allow`` names its package. Heavy packages are imported on demand.
"""

import json
import os
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from mtlbench.experiment.evaluation import TrainedRun
    from mtlbench.export.scorer import Scorer
    from mtlbench.report.figure import FigureResult
    from mtlbench.report.result import TableResult
    from mtlbench.result import Result


def train(
    *overrides: str, allow: Sequence[str] = (), config_dir: str | os.PathLike[str] | None = None, **keys: Any
) -> "Run":
    """Train a model on a data set, like ``mtlbench train``: a finished run is loaded, an interrupted one is resumed.

    Examples:
        >>> run = mtlbench.train("model=dnn", "dataset=census", "trainer.epochs=1", seed=1)  # doctest: +SKIP

    Args:
        overrides: ``"group=choice"`` and ``"key=value"``.
        allow: your packages whose code the configuration may name.
        config_dir: folder of your own configurations and code, as ``--config-dir``.
        keys: further overrides of keys without a dot, such as ``seed=0``.

    Raises:
        ValueError: the configuration or the raw files are invalid; nothing was trained.
        BusyError: another process is training this run.
        KeyboardInterrupt: the run stopped at a checkpoint; the same call resumes from there.
    """
    with _words([*overrides, *_written(keys)], allow, config_dir) as words:
        from mtlbench.cli.compose import compose
        from mtlbench.experiment.run import train as train_run

        folder = train_run(compose(words)).folder
    return Run(folder, tuple(allow), _absolute(config_dir))


def load(
    run: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] = "runs",
    allow: Sequence[str] = (),
    config_dir: str | os.PathLike[str] | None = None,
) -> "Run":
    """Load a run by its folder, or by a prefix of its name.

    Examples:
        >>> mtlbench.load("3f2a").predict(frame)  # doctest: +SKIP

    Args:
        run: its folder, or a prefix of its name in `folder`.
        folder: the folder of the runs.
        allow, config_dir: as for `train`, if its model is your own code.

    Raises:
        ValueError: no run matches, or several do.
    """
    from mtlbench.cli.arguments import find_run

    return Run(find_run(os.fspath(run), Path(folder)).absolute(), tuple(allow), _absolute(config_dir))


def runs(*filters: str, folder: str | os.PathLike[str] = "runs", sort: str | None = None) -> "pd.DataFrame":
    """The runs of a folder as a data frame: facts, the settings in which they differ, and test metrics.

    Examples:
        >>> mtlbench.runs("model=mmoe,dnn", "dataset=census", sort="income/auc")  # doctest: +SKIP

    Args:
        filters: such as ``"model=mmoe"`` or ``"trainer.epochs=20"``; comma-separated values are alternatives.
        folder: the folder of the runs.
        sort: a metric (best run first) or a key; by default, runs are sorted by their start.

    Raises:
        ValueError: no run has the key.
    """
    import pandas as pd

    from mtlbench.cli.runs import columns, find_records

    records, damaged = find_records(Path(folder), filters, sort)
    for error in damaged.values():
        warnings.warn(f"left out: {error}", UserWarning, stacklevel=2)
    return pd.DataFrame(columns(records)).set_index("run") if records else pd.DataFrame()


def reproduce(
    name: str | os.PathLike[str],
    *overrides: str,
    scale: float | None = None,
    seeds: int | None = None,
    rows: Sequence[str] = (),
    processes: int | None = None,
    to: str | os.PathLike[str] = "tables",
    allow: Sequence[str] = (),
    config_dir: str | os.PathLike[str] | None = None,
) -> "Reproduced":
    """Reproduce a table or figure of a paper, or a study of your own, like ``mtlbench reproduce``.

    Examples:
        >>> mtlbench.reproduce("census_mmoe", "trainer.epochs=2", scale=0.1).frame  # doctest: +SKIP

    Args:
        name: name of the table or figure, or path of a study's YAML file.
        overrides: ``"key=value"``.
        scale, seeds, rows, processes, to: see the options of the command.
        allow, config_dir: as for `train`.

    Raises:
        ValueError: there is no such table or figure, or its configuration is invalid.
    """
    with _words(overrides, allow, config_dir) as words:
        import click

        from mtlbench.cli.reproduce import command
        from mtlbench.report.stored import find_stored

        failed = click.Context(command).invoke(  # sets defaults of the other options
            command,
            name=os.fspath(name),
            scale=scale,
            seeds=seeds,
            rows=rows or None,
            processes=processes,
            to=Path(to),
            overrides=words,
        )
        results, problems = find_stored(Path(to), [Path(name).stem])
    if failed or problems:
        said = "; ".join(problems) or "some runs failed, for the reasons printed above"
        warnings.warn(f"{os.fspath(name)} is not complete: {said}", UserWarning, stacklevel=2)
    return Reproduced(results[0])


@dataclass(frozen=True)
class Run:
    """A run in its folder, from which everything is read on demand.

    Attributes:
        folder: folder of the run, named by its identity.
        allow: your packages that its configuration may name.
        config_dir: folder of their code, unless it is installed.
    """

    folder: Path
    allow: tuple[str, ...] = field(default=(), repr=False)
    config_dir: Path | None = field(default=None, repr=False)

    @property
    def identity(self) -> str:
        """Hash of its configuration and data: the name of its folder."""
        return self.folder.name

    @cached_property
    def result(self) -> "Result":
        """The result of the finished run: metrics and cost.

        Raises:
            DamagedFileError: the run has not finished, or the file is damaged.
        """
        from mtlbench.tracking.folder import read_result

        return read_result(self.folder)

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics by ``<task>/<metric>``; undefined ones are in ``result.undefined``."""
        return self.result.test.values

    @property
    def curves(self) -> "pd.DataFrame":
        """Everything measured during training: a row per evaluation or log step, a column per name."""
        import pandas as pd

        from mtlbench.tracking.journal import Journal

        lines = [{"step": line.step, "epoch": line.epoch, **line.values} for line in Journal(self.folder).read()]
        return pd.DataFrame(lines, columns=None if lines else ["step", "epoch"]).set_index("step")

    @property
    def configuration(self) -> dict[str, Any]:
        """The resolved configuration, as nested plain values."""
        from mtlbench.tracking.folder import CONFIG
        from mtlbench.tracking.parameters import read_config

        return read_config(self.folder / CONFIG)

    @property
    def model(self) -> "nn.Module":
        """The trained model with the selected weights, in evaluation mode, on the CPU.

        Raises:
            ValueError: the run has no weights, or its data no longer exist.
        """
        return self._trained.model.eval()

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """Predictions of raw rows, with their index: probabilities ``p_<task>``, numbers ``predicted_<task>``.

        Args:
            rows: has a column for each field, named as the field or as in the training files, with raw values as the
                data set's reader gives them: dimension tables joined, a multi-valued field as a list. ``mtlbench
                score`` reads the same columns.

        Raises:
            ValueError: a column is missing, or a value is not allowed; the message has the column and the row.
        """
        from mtlbench.export.frame import score_frame

        return score_frame(self._scorer, rows)

    def slices(self, *fields: str, split: str = "test", bins: int = 5, min_rows: int = 50) -> "pd.DataFrame":
        """Metrics by slice: for each task and each value of a field, or each combination of several fields' values.

        Args:
            fields: names of fields, which need not be inputs of the model.
            split: the split to measure.
            bins: maximum number of bins of a number field, with quantiles as edges.
            min_rows: values with fewer rows are pooled.

        Raises:
            ValueError: the field or split does not exist, or the values make no slices.
        """
        with _words((), self.allow, self.config_dir):
            from mtlbench.experiment.analysis import metrics_by_slice, scored_split
            from mtlbench.report.frames import slices_frame

            scored = scored_split(self.folder, split, "cpu")
            return slices_frame(metrics_by_slice(scored, fields, bins=bins, min_rows=min_rows))

    def calibration(self, split: str = "test") -> "pd.DataFrame":
        """Predicted and observed values of each task, in 15 quantile bins.

        Raises:
            ValueError: the split does not exist, or the run's data no longer exist.
        """
        with _words((), self.allow, self.config_dir):
            from mtlbench.experiment.analysis import scored_split
            from mtlbench.metrics.reliability import reliability
            from mtlbench.report.frames import calibration_frame

            return calibration_frame(reliability(scored_split(self.folder, split, "cpu").rows))

    def importance(
        self, split: str = "test", *, repeats: int = 5, seed: int = 0, sample_rows: int = 100_000
    ) -> "pd.DataFrame":
        """Permutation importance: the loss in quality of each metric when a field is shuffled among the rows.

        Args:
            split: the split to score.
            repeats, seed: of the permutations.
            sample_rows: number of rows to sample from a larger split.

        Raises:
            ValueError: the split does not exist, or the run has no weights or data.
        """
        with _words((), self.allow, self.config_dir):
            from mtlbench.experiment.analysis import permutation_importance
            from mtlbench.report.frames import importance_frame

            found = permutation_importance(
                self.folder, split, "cpu", repeats=repeats, seed=seed, sample_rows=sample_rows
            )
            return importance_frame(found)

    @cached_property
    def _trained(self) -> "TrainedRun":
        with _words((), self.allow, self.config_dir):
            from mtlbench.experiment.evaluation import load_run

            return load_run(self.folder, "cpu")

    @cached_property
    def _scorer(self) -> "Scorer":
        from mtlbench.export.frame import run_scorer

        return run_scorer(self._trained)


@dataclass(frozen=True)
class Reproduced:
    """A reproduced table or figure.

    Attributes:
        result: the content of its page: cells, claims, footnotes, runs.
    """

    result: "TableResult | FigureResult"

    @property
    def frame(self) -> "pd.DataFrame":
        """A row per cell: printed and measured numbers, verdict, comparison.

        Raises:
            ValueError: a figure has no cells.
        """
        import pandas as pd

        from mtlbench.report.result import TableResult
        from mtlbench.report.text import comma_separated

        if not isinstance(self.result, TableResult):
            raise ValueError(f"{self.result.name} is a figure, which has no cells; its curves are in `result.panels`")
        return pd.read_csv(StringIO(comma_separated(self.result)))

    def __str__(self) -> str:
        from mtlbench.reproduce.write import terminal_text

        return terminal_text(self.result)


@contextmanager
def _words(
    overrides: Sequence[str], allow: Sequence[str], config_dir: str | os.PathLike[str] | None
) -> Generator[list[str]]:
    """The overrides for a command; permissions and Hydra's state are restored at the end of the context."""
    from hydra.core.global_hydra import GlobalHydra

    from mtlbench.allowed import CONF
    from mtlbench.cli import set_environment
    from mtlbench.cli.names import as_written
    from mtlbench.cli.search_path import named_folders
    from mtlbench.cli.words import KEY, moved_to_environment
    from mtlbench.experiment.errors import ConfigError

    if invalid := [word for word in overrides if not isinstance(word, str)]:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"{invalid[0]!r}: overrides must be text, as in 'model=mmoe'")
    set_environment()
    outer = GlobalHydra.instance().hydra
    permission = [f"{KEY}[{','.join([allow] if isinstance(allow, str) else allow)}]"] if allow else []
    with moved_to_environment([*overrides, *permission]) as remaining:
        if config_dir is not None:
            os.environ[CONF] = named_folders((Path(config_dir),))
        try:
            yield as_written(remaining())
        finally:
            GlobalHydra.instance().hydra = outer


def _written(keys: dict[str, Any]) -> list[str]:
    """``key=value`` as on the command line."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in keys.items()]


def _absolute(folder: str | os.PathLike[str] | None) -> Path | None:
    return None if folder is None else Path(folder).absolute()
