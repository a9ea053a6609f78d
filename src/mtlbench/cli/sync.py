"""``mtlbench sync``: send runs to MLflow that have not reached it."""

from pathlib import Path

from mtlbench.cli.compose import compose

USAGE = """usage: mtlbench sync [run.folder=runs] [run.tracker.uri=<uri>] [run.tracker.experiment=<name>]

Each run's journal is sent to the tracker; what is there already is not sent again.
"""


def run(arguments: list[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    config = compose(arguments)
    from mtlbench.tracking import sync, tracking_uri

    runs = Path(config.run.folder)
    report = sync(runs, tracking_uri(config.run.tracker.uri, runs), config.run.tracker.experiment)
    print(report)
    return 0
