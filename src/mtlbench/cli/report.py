"""``mtlbench report``: measured tables and figures as one HTML page, without running anything."""

import argparse
import sys
from pathlib import Path

ABOUT = """Writes one HTML page, which needs no network and no other file, of the tables and figures that
mtlbench reproduce has measured: all that it finds, or the named ones. Nothing is run."""


def run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="mtlbench report", description=ABOUT, allow_abbrev=False)
    parser.add_argument(
        "names", nargs="*", help="such as dephn_table2, dephn_fig4; all that are found if none is named"
    )
    parser.add_argument(
        "--from", dest="folder", metavar="FOLDER", type=Path, default="tables", help="that reproduce wrote to (tables)"
    )
    parser.add_argument("--to", metavar="FILE", type=Path, default="report.html", help="file of the page (report.html)")
    options = parser.parse_args(arguments)
    return 0 if write_report(options.folder, options.to, options.names) else 1


def write_report(folder: Path, page_file: Path, names: list[str]) -> bool:
    """Write the page of a folder's tables and figures, and say where it is; whether all of them could be read."""
    from mtlbench.report.page import counted, page
    from mtlbench.report.stored import find_stored
    from mtlbench.tracking.journal import write_beside

    results, problems = find_stored(folder, names)
    page_file.parent.mkdir(parents=True, exist_ok=True)
    write_beside(page_file, page(results).encode())
    print(f"{counted(results)}: {page_file}", file=sys.stderr)
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    return not problems
