"""``mtlbench sync``: uploads runs that have not reached MLflow."""

import sys
from pathlib import Path

import click

from mtlbench.cli import arguments
from mtlbench.experiment.errors import ConfigError


@click.command(cls=arguments.Command)
@arguments.overrides()
def command(overrides: list[str]) -> int:
    """Upload runs that have not reached MLflow.

    Each run's journal is sent to the tracker, without the entries that the tracker already has.

    \b
    Keys: run.folder=runs, run.tracker.uri, run.tracker.experiment=mtlbench
    Example:
      mtlbench sync run.tracker.uri=http://host:5000
    """
    from mtlbench.cli.compose import compose
    from mtlbench.tracking.connect import tracking_uri
    from mtlbench.tracking.tracker import sync

    config = compose(overrides)
    if config.run.tracker.experiment is None:
        raise ConfigError("tracker=none sends nothing; name an experiment with run.tracker.experiment=<name>")
    runs = Path(config.run.folder)
    if not runs.is_dir():
        raise ConfigError(f"no such folder: {runs}; name the folder of the runs with run.folder=<folder>")
    report = sync(runs, tracking_uri(config.run.tracker.uri, runs), config.run.tracker.experiment)
    print(f"{len(report.sent)} runs sent, {len(report.up_to_date)} were up to date, {len(report.failed)} failed")
    for name, reason in report.failed.items():
        print(f"  {name}: {reason}", file=sys.stderr)
    return 1 if report.failed else 0
