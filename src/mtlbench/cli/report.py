"""``mtlbench report``: writes measured tables and figures as one HTML page, without running anything."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtlbench.cli import arguments
from mtlbench.cli.choices import choices
from mtlbench.cli.complete import complete_run, starting
from mtlbench.experiment.errors import ConfigError

if TYPE_CHECKING:
    from mtlbench.report.figure import FigureResult

RUNS = Path(arguments.RUNS["run.folder"])


@click.command(cls=arguments.Command)
@click.argument(
    "names",
    nargs=-1,
    metavar="[NAME]...",
    shell_complete=lambda ctx, param, text: starting(text, [*choices("table"), *choices("figure")]),
)
@arguments.path_option("--from", "folder", default="tables", help="Folder that `mtlbench reproduce` wrote to.")
@click.option(
    "--run",
    "looked_at",
    multiple=True,
    metavar="RUN",
    shell_complete=complete_run,
    help="Show the stored analyses of `mtlbench evaluate` for a run: its folder, or a prefix of its name in runs/.",
)
@arguments.path_option("--to", default="report.html", help="The page.")
def command(names: tuple[str, ...], folder: Path, looked_at: tuple[str, ...], to: Path) -> int:
    """Write one HTML page of reproduced tables and figures.

    The page is self-contained. It shows the tables and figures that `mtlbench reproduce` has measured, all of them or
    the ones named. With --run it shows the analyses of runs, and only the tables and figures that are named. Nothing
    is trained.

    \b
    Examples:
      mtlbench report dephn_table2 dephn_fig4 --to dephn.html
      mtlbench report --run 3f2a --to run.html
    """
    return 0 if write_report(folder, to, list(names), [arguments.find_run(run, RUNS) for run in looked_at]) else 1


def write_report(folder: Path, page_file: Path, names: list[str], runs: Sequence[Path] = ()) -> bool:
    """Write the page of a folder's tables and figures, and print its path; returns whether all could be read.

    Args:
        folder: folder of tables and figures.
        page_file: the HTML file to write.
        names: of tables and figures; if empty, all of them, or with `runs` none.
        runs: folders of runs whose analyses are shown too.
    """
    from mtlbench.cli.metric_files import declare_files
    from mtlbench.files import write_beside
    from mtlbench.report.page import counted, page
    from mtlbench.report.stored import find_stored

    declare_files()
    results, problems = find_stored(folder, names) if names or not runs else ([], [])
    results += [each for run in runs for each in _analyses(run)]
    page_file.parent.mkdir(parents=True, exist_ok=True)
    write_beside(page_file, page(results, of_papers=bool(names) or not runs).encode())
    print(f"{counted(results)}: {page_file}", file=sys.stderr)
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    return not problems


def _analyses(run: Path) -> "list[FigureResult]":
    from mtlbench.report.analysis import figure, read_analyses

    if not (found := read_analyses(run)):
        raise ConfigError(f"{run} has no stored analyses; mtlbench evaluate {run} --calibration writes one")
    return [figure(each, run) for each in found]
