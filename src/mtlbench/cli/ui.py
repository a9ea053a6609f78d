"""``mtlbench ui``: the MLflow page of the runs, on this machine only."""

import subprocess
from pathlib import Path

from mtlbench.cli.compose import compose
from mtlbench.experiment.errors import ConfigError

USAGE = """usage: mtlbench ui [run.folder=runs] [port=5000]

Opens MLflow's page on the loopback address, with two processes. Ctrl-C closes it.
"""


def run(arguments: list[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    text = next((word.split("=")[1] for word in arguments if word.startswith("port=")), "5000")
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise ConfigError(f"port is {text!r}; allowed: 1 to 65535")
    config = compose([word for word in arguments if not word.startswith("port=")])
    from mtlbench.tracking.connect import tracking_uri
    from mtlbench.tracking.ui import runs_page, ui

    uri = tracking_uri(config.run.tracker.uri, Path(config.run.folder))
    command = ui(uri, int(text))
    print(f"{runs_page(command.address, uri, config.run.tracker.experiment)}  (Ctrl-C closes it)", flush=True)
    try:
        done = subprocess.run(command.arguments, cwd=command.folder, env=command.environment, check=False)
        return done.returncode
    except KeyboardInterrupt:
        return 0
