"""``mtlbench reproduce``: trains the missing runs of a paper's table or figure, then renders it."""

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtlbench.cli import arguments
from mtlbench.cli.choices import choices
from mtlbench.cli.complete import complete_path, starting
from mtlbench.cli.garbage import nothing_is_garbage
from mtlbench.cli.report import write_report
from mtlbench.cli.search_path import conf_file
from mtlbench.experiment.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mtlbench.report.figure import FigureResult
    from mtlbench.report.result import TableResult
    from mtlbench.reproduce.figure import Figure
    from mtlbench.reproduce.plan import PlannedRun
    from mtlbench.reproduce.table import Table
    from mtlbench.tracking.find import RemoteResult

DECIDED = {"model": "rows", "dataset": "columns", "profile": "file", "seed": "seeds (--seeds takes fewer)"}
"""Overrides that a table or figure sets itself, with the part of it that sets them."""


class _Reproduce(arguments.Command):
    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Append the names of tables and figures to click's help."""
        super().format_help(ctx, formatter)
        for group in ("table", "figure"):
            formatter.write(f"\n{group}s:\n" + "".join(f"  {name}\n" for name in choices(group)))


@click.command(cls=_Reproduce)
@click.argument(
    "name",
    metavar="TABLE|FIGURE|STUDY.yaml|all",
    shell_complete=lambda ctx, param, text: [*starting(text, _names("all")), *complete_path(ctx, param, text)],
)
@click.option("--dry-run", is_flag=True, help="Print which runs exist, which are missing and how long those may take.")
@click.option(
    "--scale", type=click.FloatRange(0, 1, min_open=True), help="Fraction of the published rows, for a trial."
)
@click.option("--seeds", type=click.IntRange(1), help="Number of seeds, at most.")
@click.option("--same-steps", is_flag=True, help="On simulated rows, train as many steps as on the published rows.")
@click.option(
    "--rows",
    metavar="LABEL,...",
    callback=lambda ctx, param, text: _labels(text),
    help="Run only these rows; the others keep their finished runs. Quote a label that has a comma.",
)
@click.option("--processes", type=click.IntRange(1), help="Number of concurrent runs; short for hydra/launcher=joblib.")
@arguments.path_option("--to", default="tables", help="Output folder.")
@arguments.overrides()
@arguments.verbosity
def command(  # noqa: PLR0913  an argument for each option
    name: str,
    *,
    dry_run: bool,
    scale: float | None,
    seeds: int | None,
    same_steps: bool,
    rows: Sequence[str] | None,
    processes: int | None,
    to: Path,
    overrides: list[str],
) -> int:
    """Reproduce a table or figure of a paper.

    Trains the missing runs. A table is written as Markdown, LaTeX, CSV and JSON with the paper's number beside ours, a
    figure as PNG, SVG, PDF and JSON, and everything in the output folder as one page, report.html. You can interrupt
    and restart the command at any point: finished runs are kept, and unfinished ones resume from their checkpoints.
    run.fresh=true trains finished runs again; with --rows, only those of these rows.

    --scale makes a quick trial: simulated rows (this fraction of the published number, at least 20,000) and one seed.
    Results made with it, or with fewer seeds than the paper's, are marked. No conclusion is drawn from runs that did
    not converge; --same-steps trains them for as many steps as the paper's setting, where its number of rows is known.

    STUDY.yaml is a table of your own: rows, data sets, seeds, columns and claims, with or without printed numbers.
    `mtlbench new study NAME` writes one to start from.

    hydra/launcher=submitit_slurm hydra.launcher.partition=NAME hydra.launcher.timeout_min=600 makes every run a job of
    a Slurm cluster whose machines share the folders (extra 'slurm'). With run.tracker.uri=SERVER, machines that share
    no folder can fill one table together.

    \b
    Examples:
      mtlbench reproduce census_mmoe dataset.raw=/data/census --seeds 3
      mtlbench reproduce all --scale 0.0001 trainer.epochs=1 --processes 2
    """
    from mtlbench.cli.compose import WITHOUT_EFFECT, compose
    from mtlbench.cli.hydra_keys import split_hydra
    from mtlbench.cli.launcher import launcher_of
    from mtlbench.reproduce.check_finished import check_finished
    from mtlbench.reproduce.check_tasks import check_tasks
    from mtlbench.reproduce.plan import expand, missing, other_data
    from mtlbench.reproduce.remote import exchange_results
    from mtlbench.reproduce.share import shared

    launching, overrides = split_hydra(overrides)
    _check(overrides, scale)
    launcher = launcher_of(launching, overrides, processes)
    studies = [read_study(name) for name in _names(name)]
    _check_rows(studies, rows)
    with nothing_is_garbage():
        plans = shared(expand(studies, compose, overrides, scale=scale, seeds=seeds, same_steps=same_steps))
    check_tasks(studies, plans)
    planned = [run for plan in plans for run in plan]
    chosen = [run for run in planned if rows is None or run.row in rows]
    afresh = {run.identity: run for run in chosen if run.config.run.fresh}
    check_finished([run for run in planned if run.identity not in afresh])
    elsewhere = exchange_results(missing(planned), fetch_only=dry_run)
    lacking = [*afresh.values()] or [run for run in missing(chosen) if run.identity not in elsewhere]
    for study, plan in zip(studies, plans, strict=True):
        runs = {run.identity for run in plan}
        fetched = len(runs & set(elsewhere))
        summary = f"{len(runs) - len(missing(plan))} finished" + f", {fetched} by other machines" * bool(fetched)
        print(f"{study.name}: {len(runs)} runs, {summary}", file=sys.stderr)
        for text in other_data(plan):
            print(f"! {study.name}: {text}", file=sys.stderr)
    if lacking:
        print(_cost_text(lacking), file=sys.stderr)
    if dry_run:
        return 0
    from mtlbench.reproduce.execute import execute  # imports torch

    failures = execute(lacking, launcher)
    settings = [word for word in overrides if not word.startswith(WITHOUT_EFFECT)]
    results = [
        _rendered(study, plan, elsewhere, scale, settings, to) for study, plan in zip(studies, plans, strict=True)
    ]
    _send(results, plans, elsewhere, planned[0].config.run)
    by_identity = {run.identity: run for run in lacking}
    for identity, reason in failures.items():
        failed = by_identity[identity]
        print(f"failed: {failed.row}, {failed.dataset}, seed {failed.seed} ({identity}): {reason}", file=sys.stderr)
    write_report(to, to / "report.html", [])
    return 1 if failures else 0


def _labels(text: str | None) -> list[str] | None:
    """The labels of --rows; one that has a comma stands in double quotes, as in CSV files."""
    return next(csv.reader([text], skipinitialspace=True)) if text else None


def _names(name: str) -> list[str]:
    """The names of all tables and figures for ``all``; otherwise the given one, or the file of a study."""
    every = [*choices("table"), *choices("figure")]
    if name.endswith(".yaml"):
        known = Path(name).stem
        file = conf_file(f"table/{known}.yaml")  # the study itself, if --config-dir names its folder
        if known in every and (file is None or file.resolve() != Path(name).resolve()):
            raise ConfigError(f"{name}: a table or figure '{known}' already exists, whose files would be overwritten")
        return [name]
    if name not in ("all", *every):
        hint = arguments.nearest(name, every) or "."
        raise ConfigError(f"no table or figure '{name}'{hint} Allowed: {', '.join(every)}")
    return every if name == "all" else [name]


def _check_rows(studies: "Sequence[Table | Figure]", rows: Sequence[str] | None) -> None:
    for study in studies if rows else ():
        if unknown := sorted(set(rows or ()) - {row.label for row in study.rows}):
            raise ConfigError(
                f"{study.name} has no row {', '.join(unknown)}; allowed: {', '.join(r.label for r in study.rows)}"
            )


def _check(overrides: Sequence[str], scale: float | None) -> None:
    if scale is not None and math.isnan(scale):
        raise ConfigError("--scale is nan; allowed: above 0, at most 1")
    for word in overrides:
        if by := DECIDED.get(word.partition("=")[0]):
            raise ConfigError(f"'{word}': a table or figure sets this by its {by}; `mtlbench train` accepts any value")


def read_study(name: str) -> "Table | Figure":
    from mtlbench.cli.metric_files import declare_files
    from mtlbench.reproduce.figure import read_figure
    from mtlbench.reproduce.table_file import load_table

    declare_files()
    if name in choices("figure"):
        figure = conf_file(f"figure/{name}.yaml")
        assert figure is not None, f"{name} was listed as a choice"
        return read_figure(figure.parent, name)
    table = Path(name) if name.endswith(".yaml") else conf_file(f"table/{name}.yaml")
    assert table is not None, f"{name} was listed as a choice"
    return load_table(table.parent, table.stem)


def _rendered(
    study: "Table | Figure",
    plan: "Sequence[PlannedRun]",
    elsewhere: "Mapping[str, RemoteResult]",
    scale: float | None,
    settings: Sequence[str],
    folder: Path,
) -> "tuple[TableResult | FigureResult, list[Path]]":
    """Render a table or figure from its finished runs; returns it and the files written."""
    from mtlbench.reproduce.assemble import assemble
    from mtlbench.reproduce.gather import gather
    from mtlbench.reproduce.illustrate import figure_runs, measure_figure
    from mtlbench.reproduce.table import PRIVATE, Table
    from mtlbench.reproduce.write import terminal_text, write

    if isinstance(study, Table):
        result = assemble(study, gather(plan, elsewhere), scale=scale, settings=settings, private=PRIVATE)
    else:
        result = measure_figure(figure_runs(study, plan, elsewhere), scale=scale, settings=settings)
    files = write(result, folder)
    print(terminal_text(result))
    return result, files


def _send(
    results: "Sequence[tuple[TableResult | FigureResult, list[Path]]]",
    plans: "Sequence[Sequence[PlannedRun]]",
    elsewhere: "Mapping[str, RemoteResult]",
    run_config: "DictConfig",
) -> None:
    """Send tables and figures to MLflow; a server that cannot be reached gives one message."""
    from mtlbench.reproduce.write import send
    from mtlbench.tracking.connect import TrackingError, tracking_uri

    if (experiment := run_config.tracker.experiment) is None:
        return
    uri = tracking_uri(run_config.tracker.uri, Path(run_config.folder))
    for (result, files), plan in zip(results, plans, strict=True):
        members = {run.folder: run.row for run in plan if run.finished}
        remote_runs = {
            elsewhere[run.identity].run_id: (run.identity, run.row)
            for run in plan
            if not run.finished and run.identity in elsewhere
        }
        if plan and not members and not remote_runs:
            continue
        try:
            send(result, uri, experiment, members, remote_runs, files)
        except (TrackingError, ValueError) as error:
            print(
                f"{result.name} was not sent to MLflow: {error}. Run the same command again to send it", file=sys.stderr
            )
            if isinstance(error, TrackingError):  # the rest would run into the same time-out
                return


def _cost_text(lacking: "Sequence[PlannedRun]") -> str:
    """How many runs are missing, and their maximum cost on the rows at hand and on all published rows."""
    from mtlbench.cli.search_path import conf_folder
    from mtlbench.reproduce.cost import SPEEDS, cost, measured_speeds, read_speeds

    here = measured_speeds(lacking[0].folder.parent)
    found = cost(lacking, here, read_speeds(conf_folder() / SPEEDS))
    state = "to be trained afresh (run.fresh=true)" if lacking[0].config.run.fresh else "missing"
    counted = f"1 run is {state}" if len(lacking) == 1 else f"{len(lacking)} runs are {state}"
    if found is None:
        return f"{counted}, for an unknown time: no speed was measured"
    source = "those measured here" if here else f"those of {SPEEDS}, measured elsewhere"
    lines = [f"{counted}, at most about {_clock(found.seconds)} of one core (speeds: {source}; no GPU was measured)"]
    if found.full is not None:
        lines.append(f"at full size, on all published rows: at most about {_clock(found.full)} of one core")
    if found.unknown:
        lines.append(f"no speed is known for {', '.join(found.unknown)}: estimated by the median of the others")
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    minutes = max(round(seconds / 60), 1)
    return f"{seconds / 3600:,.1f} hours" if minutes > 90 else f"{minutes} minute{'s' * (minutes > 1)}"
