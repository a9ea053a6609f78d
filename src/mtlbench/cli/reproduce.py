"""``mtlbench reproduce``: tables and figures of papers, measured: what is missing is run, then all is rendered."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlbench.cli.choices import conf_folder, flags
from mtlbench.cli.compose import compose
from mtlbench.cli.report import write_report
from mtlbench.experiment.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mtlbench.report.figure import FigureResult
    from mtlbench.report.result import TableResult
    from mtlbench.reproduce.figure import Figure
    from mtlbench.reproduce.plan import PlannedRun
    from mtlbench.reproduce.table import Table

USAGE = """usage: mtlbench reproduce <table>|<figure>|all [--dry-run] [--scale <share>] [--seeds <n>]
                          [--rows <label>,...] [--processes <n>] [--to <folder>] [<key>=<value> ...]

Runs whatever the table or figure lacks. A table is written as Markdown, LaTeX, CSV and JSON, the paper's number beside
ours, a figure as PNG, SVG and JSON, and all that the folder holds as one page, report.html. Interrupt it and start it
again at any point: finished runs are kept, and a run under way goes on from its checkpoint.

  --dry-run         says which runs exist, which are missing and how long they may take, and runs nothing
  --scale 0.01      everything small, to try it: simulated rows (that share of the published ones, at least 20,000) and
                    one seed; whatever is made of it says so
  --seeds 2         at most the first two of the seeds; what has fewer than the paper's says so
  --rows MMoE,PLE   run only these rows; the table keeps what the others have
  --processes 2     runs side by side, short for hydra/launcher=joblib hydra.launcher.n_jobs=2
  --to tables       folder of what is rendered

hydra/launcher=submitit_slurm hydra.launcher.partition=<name> hydra.launcher.timeout_min=600 makes every run a job of a
Slurm cluster whose machines share the folders (extra 'slurm'); with run.tracker.uri=<server> several machines that
share no folder fill one table.

tables:
{tables}

figures:
{figures}
"""

LAUNCHER = ("hydra/launcher=", "hydra.launcher=", "hydra.launcher.")

DECIDED = {"model": "rows", "dataset": "columns", "profile": "file", "seed": "seeds (--seeds takes fewer)"}
"""What a table or figure chooses by itself, and by what."""

WITHOUT_EFFECT = ("run.", "tracker=", "dataset.raw=", "dataset.source=")
"""Overrides that say where and how runs are made, not what they are."""


def run(arguments: list[str]) -> int:
    from mtlbench.reproduce.figure import figure_names
    from mtlbench.reproduce.table import table_names

    tables, figures = table_names(conf_folder() / "table"), figure_names(conf_folder() / "figure")
    if not arguments or "--help" in arguments or "-h" in arguments:
        listed = ["\n".join(f"  {name}" for name in names) for names in (tables, figures)]
        print(USAGE.format(tables=listed[0], figures=listed[1]), end="")
        return 0 if arguments else 2
    chosen, words = flags(arguments, values=("scale", "seeds", "rows", "processes", "to"), switches=("dry-run",))
    wanted = [word for word in words if "=" not in word]
    launching = [word for word in words if word.startswith(LAUNCHER)]
    overrides = [word for word in words if "=" in word and word not in launching]
    for word in overrides:
        if by := DECIDED.get(word.partition("=")[0]):
            raise ConfigError(f"'{word}': a table or figure decides that by its {by}; `mtlbench train` takes any")
    there = f"tables: {', '.join(tables)}; figures: {', '.join(figures)}"
    if len(wanted) != 1:
        raise ConfigError(f"name one table or figure, or all; found {wanted or 'none'}. There are {there}")
    if wanted[0] not in ("all", *tables, *figures):
        raise ConfigError(f"no table or figure '{wanted[0]}'. There are {there}")
    return _reproduce([*tables, *figures] if wanted == ["all"] else wanted, overrides, launching, chosen)


def _reproduce(names: list[str], overrides: list[str], launching: list[str], given: dict[str, str]) -> int:
    from mtlbench.cli.launcher import launcher_of
    from mtlbench.reproduce.exchange import exchange
    from mtlbench.reproduce.execute import execute
    from mtlbench.reproduce.gather import check_finished
    from mtlbench.reproduce.plan import estimated_seconds, expand, measured_speeds, missing

    scale, seeds = _scale(given), _number(given, "seeds")
    launcher = launcher_of(launching, overrides, _number(given, "processes"))
    labels = given["rows"].split(",") if "rows" in given else None
    studies = [_read(name) for name in names]
    for study in studies if labels else ():
        if strange := sorted(set(labels or ()) - {row.label for row in study.rows}):
            raise ConfigError(f"{study.name} has no row {', '.join(strange)}; {', '.join(r.label for r in study.rows)}")
    plans = [expand(study, compose, overrides, scale=scale, seeds=seeds) for study in studies]
    planned = [run for plan in plans for run in plan]
    check_finished(planned)
    elsewhere = exchange(missing(planned), only_ask="dry-run" in given)
    chosen = [run for run in planned if labels is None or run.row in labels]
    lacking = [run for run in missing(chosen) if run.identity not in elsewhere]
    for study, plan in zip(studies, plans, strict=True):
        runs = {run.identity for run in plan}
        others = len(runs & set(elsewhere))
        told = f"{len(runs) - len(missing(plan))} finished" + f", {others} by other machines" * bool(others)
        print(f"{study.name}: {len(runs)} runs, {told}", file=sys.stderr)
    if lacking:
        seconds = estimated_seconds(lacking, measured_speeds(lacking[0].folder.parent))
        time = "unknown time: nothing was measured here yet" if seconds is None else f"at most about {_clock(seconds)}"
        print(f"{len(lacking)} runs are missing, {time}", file=sys.stderr)
    if "dry-run" in given:
        return 0
    failures = execute(lacking, launcher)
    folder, place = Path(given.get("to", "tables")), compose(overrides).run
    settings = [word for word in overrides if not word.startswith(WITHOUT_EFFECT)]
    results = [
        _rendered(study, plan, elsewhere, scale, settings, folder) for study, plan in zip(studies, plans, strict=True)
    ]
    _send(results, plans, elsewhere, place)
    by_identity = {run.identity: run for run in lacking}
    for identity, reason in failures.items():
        failed = by_identity[identity]
        print(f"failed: {failed.row}, {failed.dataset}, seed {failed.seed} ({identity}): {reason}", file=sys.stderr)
    write_report(folder, folder / "report.html", [])
    return 1 if failures else 0


def _read(name: str) -> "Table | Figure":
    from mtlbench.reproduce.figure import read_figure
    from mtlbench.reproduce.table import read_table, table_names

    if name in table_names(conf_folder() / "table"):
        return read_table(conf_folder() / "table", name)
    return read_figure(conf_folder() / "figure", name)


def _rendered(
    study: "Table | Figure",
    plan: "Sequence[PlannedRun]",
    elsewhere: Mapping[str, dict[str, Any]],
    scale: float | None,
    settings: Sequence[str],
    folder: Path,
) -> "tuple[TableResult | FigureResult, list[Path]]":
    """A table or figure of what is finished, and the files that it was written to."""
    from mtlbench.reproduce.assemble import assemble
    from mtlbench.reproduce.gather import gather
    from mtlbench.reproduce.illustrate import figure_runs, measure_figure
    from mtlbench.reproduce.table import PRIVATE, Table
    from mtlbench.reproduce.write import told, write

    if isinstance(study, Table):
        result = assemble(study, gather(plan, elsewhere), scale=scale, settings=settings, private=PRIVATE)
    else:
        result = measure_figure(figure_runs(study, plan, elsewhere), scale=scale, settings=settings)
    files = write(result, folder)
    print(told(result))
    return result, files


def _send(
    results: "Sequence[tuple[TableResult | FigureResult, list[Path]]]",
    plans: "Sequence[Sequence[PlannedRun]]",
    elsewhere: Mapping[str, dict[str, Any]],
    place: "DictConfig",
) -> None:
    """Show tables and figures in MLflow; a server that is away costs nothing but one message."""
    from mtlbench.reproduce.write import send
    from mtlbench.tracking.connect import TrackingError, tracking_uri

    if (experiment := place.tracker.experiment) is None:
        return
    uri = tracking_uri(place.tracker.uri, Path(place.folder))
    for (result, files), plan in zip(results, plans, strict=True):
        members = {run.folder: run.row for run in plan if run.finished}
        others = {
            elsewhere[run.identity]["run_id"]: (run.identity, run.row)
            for run in plan
            if not run.finished and run.identity in elsewhere
        }
        if plan and not members and not others:
            continue
        try:
            send(result, uri, experiment, members, others, files)
        except (TrackingError, ValueError) as error:
            print(f"{result.name} was not sent to MLflow: {error}. The same command again sends it", file=sys.stderr)
            if isinstance(error, TrackingError):  # the others would only wait for the same time-out
                return


def _number(given: dict[str, str], name: str) -> int | None:
    """A count that a flag gives, if it is there."""
    if name not in given:
        return None
    if not given[name].isdecimal() or int(given[name]) == 0:
        raise ConfigError(f"--{name} is '{given[name]}'; allowed: 1 or more")
    return int(given[name])


def _scale(given: dict[str, str]) -> float | None:
    if "scale" not in given:
        return None
    try:
        value = float(given["scale"])
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise ConfigError(f"--scale is '{given['scale']}'; allowed: above 0, at most 1")
    return value


def _clock(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{max(seconds / 60, 1):.0f} minutes"
