"""``mtlbench ui``: serves the MLflow page of the runs, to this machine only."""

from pathlib import Path

import click

from mtlbench.cli import arguments


@click.command(cls=arguments.Command)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port of the server.")
@arguments.overrides()
def command(port: int, overrides: list[str]) -> int:
    """Serve the MLflow page of the runs.

    The server has two processes and listens on the loopback address only. Ctrl-C stops it.

    \b
    Keys: run.folder=runs, run.tracker.uri
    Example:
      mtlbench ui run.folder=/data/runs --port 5001
    """
    import subprocess

    from mtlbench.cli.compose import compose
    from mtlbench.tracking.connect import tracking_uri
    from mtlbench.tracking.ui import runs_page, ui

    config = compose(overrides)
    uri = tracking_uri(config.run.tracker.uri, Path(config.run.folder))
    server = ui(uri, port)
    print(f"{runs_page(server.address, uri, config.run.tracker.experiment)}  (Ctrl-C stops it)", flush=True)
    try:
        done = subprocess.run(server.arguments, cwd=server.folder, env=server.environment, check=False)
        return done.returncode
    except KeyboardInterrupt:
        return 0
