"""``mtlbench simulate``: writes synthetic data in the publisher's raw format, with the true label probabilities."""

import shlex
from pathlib import Path

import click

from mtlbench.cli import arguments
from mtlbench.experiment.errors import ConfigError


@click.command(cls=arguments.Command)
@arguments.overrides("simulate")
def command(overrides: list[str]) -> None:
    """Write a simulated data set in its raw format.

    Writes synthetic raw files of a data set, together with the true probability of every label. Stores, runs and
    tables made from them are marked as simulated. `mtlbench show dataset=NAME` lists the settings;
    dataset.simulator.structure=false makes all labels independent of the inputs, so that there is nothing to learn.

    \b
    Keys: rows=200000, to=<run.data>/simulated/<dataset>-<rows>
    Example:
      mtlbench simulate dataset=census rows=3000 to=made
    """
    from mtlbench.cli.compose import compose

    config = compose(overrides, "simulate")
    from mtlbench.experiment.build import build
    from mtlbench.experiment.data import simulate

    if config.dataset.raw is not None:
        raise ConfigError(
            f"dataset.raw={config.dataset.raw} is a folder to read from; simulate writes to to=<folder>, by default "
            f"{Path(config.run.data) / 'simulated' / config.dataset.name}-<rows>"
        )
    rows = config.dataset.simulator.rows
    folder = Path(config.to or Path(config.run.data) / "simulated" / f"{config.dataset.name}-{rows}")
    reader = build(config.dataset.reader, "dataset.reader")
    if folder.exists() or not simulate(reader, config.dataset.simulator, folder):
        raise ConfigError(f"{folder} exists; name another folder with to=<folder>, or remove it")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(
        f"wrote {size / 1e6:,.0f} MB of simulated {config.dataset.name} to {folder}\n"
        "use it: " + shlex.join(["mtlbench", "train", f"dataset={config.dataset.name}", f"dataset.raw={folder}"])
    )
