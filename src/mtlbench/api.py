"""The Python interface: train, load, list and reproduce from a script or a notebook.

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

Words are those of the command line (``mtlbench train --help``), and errors those of the command line as `ValueError`.
A configuration names code of yours only where ``allow`` names its package. Heavy packages are imported when they are
needed.
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
    """Train a model on a data set, as ``mtlbench train`` does: a finished run is loaded, an interrupted one goes on.

    Examples:
        >>> run = mtlbench.train("model=dnn", "dataset=census", "trainer.epochs=1", seed=1)  # doctest: +SKIP

    Args:
        overrides: ``"group=choice"`` and ``"key=value"``.
        allow: packages of yours whose code the configuration may name.
        config_dir: a folder of configurations and code of yours, as ``--config-dir``.
        keys: further overrides of keys without a dot, such as ``seed=0``.

    Raises:
        ValueError: the configuration or the raw files cannot be used; nothing was trained.
        BusyError: another process is training this very run.
        KeyboardInterrupt: the run stopped at a checkpoint; the same call goes on from there.
    """
    with _words([*overrides, *_written(keys)], allow, config_dir) as words:
        from mtlbench.cli.compose import compose
        from mtlbench.experiment.run import train as carry_out

        folder = carry_out(compose(words)).folder
    return Run(folder, tuple(allow), _absolute(config_dir))


def load(
    run: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] = "runs",
    allow: Sequence[str] = (),
    config_dir: str | os.PathLike[str] | None = None,
) -> "Run":
    """A run by its folder, or by the beginning of its name.

    Examples:
        >>> mtlbench.load("3f2a").predict(frame)  # doctest: +SKIP

    Args:
        run: its folder, or the beginning of the name of one in `folder`.
        folder: of runs.
        allow, config_dir: as for `train`, where its model is code of yours.

    Raises:
        ValueError: there is no such run, or several.
    """
    from mtlbench.cli.arguments import find_run

    return Run(find_run(os.fspath(run), Path(folder)).absolute(), tuple(allow), _absolute(config_dir))


def runs(*filters: str, folder: str | os.PathLike[str] = "runs", sort: str | None = None) -> "pd.DataFrame":
    """The runs of a folder, a row each: what they are, the settings in which they differ, and their test metrics.

    Examples:
        >>> mtlbench.runs("model=mmoe,dnn", "dataset=census", sort="income/auc")  # doctest: +SKIP

    Args:
        filters: ``"model=mmoe"`` or ``"trainer.epochs=20"``; several values are alternatives.
        folder: of the runs.
        sort: a metric (the best run first) or a key; by default, runs stand in the order of their begin.

    Raises:
        ValueError: no run has such a key.
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
    """Reproduce a table or figure of a paper, or a study of your own, as ``mtlbench reproduce`` does.

    Examples:
        >>> mtlbench.reproduce("census_mmoe", "trainer.epochs=2", scale=0.1).frame  # doctest: +SKIP

    Args:
        name: of the table or figure, or the path of a study's YAML file.
        overrides: ``"key=value"``.
        scale, seeds, rows, processes, to: as the options of the command.
        allow, config_dir: as for `train`.

    Raises:
        ValueError: there is no such table, or its configuration cannot be used.
    """
    with _words(overrides, allow, config_dir) as words:
        import click

        from mtlbench.cli.reproduce import command
        from mtlbench.report.stored import find_stored

        failed = click.Context(command).invoke(  # which sets the options that are not named
            command,
            name=os.fspath(name),
            scale=scale,
            seeds=seeds,
            rows=",".join(rows) or None,
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
    """A run in its folder; everything is read from there when it is asked for.

    Attributes:
        folder: of the run, named by its identity.
        allow: packages of yours that its configuration may name.
        config_dir: where their code is, unless it is installed.
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
        """All that the finished run measured, its cost included.

        Raises:
            DamagedFileError: it has not finished, or the file is damaged.
        """
        from mtlbench.tracking.folder import read_result

        return read_result(self.folder)

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics, ``<task>/<metric>``; those without a value are in ``result.undefined``."""
        return self.result.test.values

    @property
    def curves(self) -> "pd.DataFrame":
        """Everything that was measured while it trained, a row for each moment and a column for each name."""
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
            ValueError: the run has no weights, or its data are no longer there.
        """
        return self._trained.model.eval()

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """Predictions of raw rows, with their index: probabilities ``p_<task>``, numbers ``predicted_<task>``.

        Args:
            rows: a column for each field, by its name or else by that of the training files, with raw values as the
                data set's reader gives them: dimension tables joined, a field of several values as a list. ``mtlbench
                score`` reads the same columns.

        Raises:
            ValueError: a column is missing, or a value is not allowed; the message says which, and in which row.
        """
        from mtlbench.export.frame import score_frame

        return score_frame(self._scorer, rows)

    def slices(self, *fields: str, split: str = "test", bins: int = 5, min_rows: int = 50) -> "pd.DataFrame":
        """Metrics of each task for each value of a field, or each combination of several fields' values.

        Args:
            fields: also those that the model does not read.
            split: whose rows are measured.
            bins: of a number, at most; their edges are quantiles.
            min_rows: values with fewer rows are measured together.

        Raises:
            ValueError: there is no such field or split, or its values make no slices.
        """
        with _words((), self.allow, self.config_dir):
            from mtlbench.experiment.analysis import metrics_by_slice, scored_split
            from mtlbench.report.frames import slices_frame

            scored = scored_split(self.folder, split, "cpu")
            return slices_frame(metrics_by_slice(scored, fields, bins=bins, min_rows=min_rows))

    def calibration(self, split: str = "test") -> "pd.DataFrame":
        """What was predicted and what was observed, in 15 bins of equally many rows for each task.

        Raises:
            ValueError: there is no such split, or the run's data are no longer there.
        """
        with _words((), self.allow, self.config_dir):
            from mtlbench.experiment.analysis import scored_split
            from mtlbench.metrics.reliability import reliability
            from mtlbench.report.frames import calibration_frame

            return calibration_frame(reliability(scored_split(self.folder, split, "cpu").rows))

    def importance(
        self, split: str = "test", *, repeats: int = 5, seed: int = 0, sample_rows: int = 100_000
    ) -> "pd.DataFrame":
        """How much worse each metric becomes when a field is shuffled among the rows (permutation importance).

        Args:
            split: whose rows are scored.
            repeats, seed: of the shuffling.
            sample_rows: of a larger split, so many rows at random.

        Raises:
            ValueError: there is no such split, or the run has no weights or data.
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
    """A table or figure beside what was measured.

    Attributes:
        result: everything that its page shows: cells, claims, footnotes, runs.
    """

    result: "TableResult | FigureResult"

    @property
    def frame(self) -> "pd.DataFrame":
        """A row for each cell: printed and measured numbers, verdict, comparison.

        Raises:
            ValueError: a figure has no cells.
        """
        import pandas as pd

        from mtlbench.report.result import TableResult
        from mtlbench.report.text import comma_separated

        if not isinstance(self.result, TableResult):
            raise ValueError(f"{self.result.name} is a figure, which has no cells; `result.panels` holds its curves")
        return pd.read_csv(StringIO(comma_separated(self.result)))

    def __str__(self) -> str:
        from mtlbench.reproduce.write import terminal_text

        return terminal_text(self.result)


@contextmanager
def _words(
    overrides: Sequence[str], allow: Sequence[str], config_dir: str | os.PathLike[str] | None
) -> Generator[list[str]]:
    """The words for a command, while what the user allows holds; neither it nor Hydra's state outlives the call."""
    from hydra.core.global_hydra import GlobalHydra

    from mtlbench.cli import set_environment
    from mtlbench.cli.names import as_written
    from mtlbench.cli.search_path import named_folders
    from mtlbench.cli.words import KEY, moved_to_environment
    from mtlbench.experiment.allowed import CONF
    from mtlbench.experiment.errors import ConfigError

    if strange := [word for word in overrides if not isinstance(word, str)]:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"{strange[0]!r}: overrides are text, as in 'model=mmoe'")
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
