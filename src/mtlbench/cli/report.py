"""``mtlbench report``: measured tables and figures as one HTML page, without running anything."""

import sys
from pathlib import Path

import click

from mtlbench.cli import arguments
from mtlbench.cli.choices import choices
from mtlbench.cli.complete import starting


@click.command(cls=arguments.Command)
@click.argument(
    "names",
    nargs=-1,
    metavar="[NAME]...",
    shell_complete=lambda ctx, param, text: starting(text, [*choices("table"), *choices("figure")]),
)
@arguments.path_option("--from", "folder", default="tables", help="Folder that `mtlbench reproduce` wrote to.")
@arguments.path_option("--to", default="report.html", help="The page.")
def command(names: tuple[str, ...], folder: Path, to: Path) -> int:
    """Write one HTML page of what was reproduced.

    The page needs no network and no other file. It shows the tables and figures that `mtlbench reproduce` has measured:
    all that are found, or the named ones. Nothing is run.

    \b
    Example:
      mtlbench report dephn_table2 dephn_fig4 --to dephn.html
    """
    return 0 if write_report(folder, to, list(names)) else 1


def write_report(folder: Path, page_file: Path, names: list[str]) -> bool:
    """Write the page of a folder's tables and figures, and say where it is; whether all of them could be read."""
    from mtlbench.files import write_beside
    from mtlbench.report.page import counted, page
    from mtlbench.report.stored import find_stored

    results, problems = find_stored(folder, names)
    page_file.parent.mkdir(parents=True, exist_ok=True)
    write_beside(page_file, page(results).encode())
    print(f"{counted(results)}: {page_file}", file=sys.stderr)
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    return not problems
