"""``mtlbench diff``: two runs side by side."""

from pathlib import Path
from typing import Any

import click

from mtlbench.cli import arguments
from mtlbench.cli.complete import complete_run


@click.command(cls=arguments.Command)
@click.argument("first", metavar="A", shell_complete=complete_run)
@click.argument("second", metavar="B", shell_complete=complete_run)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@arguments.overrides(arguments.RUNS)
def command(first: str, second: str, as_json: bool, overrides: list[str]) -> None:
    """Compare two runs: settings that differ, and metrics.

    A and B are folders of runs, or prefixes of their names.

    \b
    Example:
      mtlbench diff 3f2a 91cc run.folder=/data/runs
    """
    from mtlbench.cli.render import table
    from mtlbench.cli.runs import metric_rows, print_json, read_record
    from mtlbench.metrics.names import metric

    runs = Path(arguments.read_keys(overrides, arguments.RUNS)["run.folder"])
    records = [read_record(arguments.find_run(name, runs)) for name in (first, second)]
    settings = _differing(*records)
    metrics = metric_rows(records)
    if as_json:
        print_json({"runs": [record["run"] for record in records], "settings": settings, "metrics": dict(metrics)})
        return
    names = [f"{record['run'][:12]}" for record in records]
    unchanged = "no setting differs: the runs have the same configuration, perhaps with different code\n"
    print(
        table(["setting", *names], [[key, *map(_text, pair)] for key, pair in settings.items()])
        if settings
        else unchanged
    )
    print()
    rows = []
    for name, (a, b) in metrics:
        about = metric(name.rpartition("/")[2])
        cells = ["" if value is None else about.text(value) for value in (a, b)]
        rows.append([name, *cells, "" if a is None or b is None else f"{b - a:+.{about.digits}f}"])
    print(table(["test metric", *names, "B - A"], rows) if rows else "neither run has finished: no metrics")


def _differing(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    """Facts and configuration keys in which two runs differ, locations left out."""
    from mtlbench.tracking.parameters import flatten

    def settings(record: dict[str, Any]) -> dict[str, Any]:
        facts = {name: record[name] for name in ("model", "dataset", "seed", "origin", "data", "commit", "state")}
        return facts | flatten({key: value for key, value in record["config"].items() if key not in ("run", "seed")})

    ours, theirs = settings(a), settings(b)
    keys = dict.fromkeys((*ours, *theirs))
    return {key: [ours.get(key), theirs.get(key)] for key in keys if ours.get(key) != theirs.get(key)}


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
