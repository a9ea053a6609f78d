"""``mtlbench sync``: send runs to MLflow that have not reached it."""

from pathlib import Path

from mtlbench.cli.compose import compose
from mtlbench.experiment.errors import ConfigError

USAGE = """usage: mtlbench sync [run.folder=runs] [run.tracker.uri=<uri>] [run.tracker.experiment=<name>]

Each run's journal is sent to the tracker; what is there already is not sent again.
"""


def run(arguments: list[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    config = compose(arguments)
    from mtlbench.tracking.connect import tracking_uri
    from mtlbench.tracking.tracker import sync

    if config.run.tracker.experiment is None:
        raise ConfigError("tracker=none sends nothing; name an experiment with run.tracker.experiment=<name>")
    if not Path(config.run.folder).is_dir():
        raise ConfigError(f"there is no folder {config.run.folder}; name the one that holds the runs with run.folder=")
    runs = Path(config.run.folder)
    report = sync(runs, tracking_uri(config.run.tracker.uri, runs), config.run.tracker.experiment)
    print(f"{len(report.sent)} runs sent, {len(report.up_to_date)} were up to date, {len(report.failed)} failed")
    for name, reason in report.failed.items():
        print(f"  {name}: {reason}")
    return 1 if report.failed else 0
