"""The commands train, show, list and reproduce as functions."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlbench.api.overrides import as_words, written
from mtlbench.api.reproduced import Reproduced
from mtlbench.api.run import Run

if TYPE_CHECKING:
    import pandas as pd


def train(
    *overrides: str, allow: Sequence[str] = (), config_dir: str | os.PathLike[str] | None = None, **keys: Any
) -> Run:
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
    with as_words([*overrides, *written(keys)], allow, config_dir) as words:
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
) -> Run:
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
) -> Reproduced:
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
    with as_words(overrides, allow, config_dir) as words:
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


def _absolute(folder: str | os.PathLike[str] | None) -> Path | None:
    return None if folder is None else Path(folder).absolute()
