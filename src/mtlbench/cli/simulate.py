"""``mtlbench simulate``: a data set in its own raw format, from a planted structure, with the true probabilities."""

from pathlib import Path

from mtlbench.cli.compose import compose
from mtlbench.experiment.errors import ConfigError

USAGE = """usage: mtlbench simulate dataset=<name> [rows=<n>] [to=<folder>] [dataset.simulator.<knob>=<value> ...]

Writes the raw files of a data set from a planted multi-task structure, and the true probability of every label
beside them. Everything that is made of them says that it is simulated. `mtlbench show dataset=<name>` lists the
knobs; dataset.simulator.structure=false destroys the structure, so that nothing can be learnt.
"""


def run(arguments: list[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    config = compose(arguments, "simulate")
    from mtlbench.experiment.build import build
    from mtlbench.experiment.data import simulate

    if config.dataset.raw is not None:
        raise ConfigError(
            f"dataset.raw={config.dataset.raw} names a folder to read from; simulate writes to=<folder>, by default "
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
        f"use it: mtlbench train dataset={config.dataset.name} dataset.raw={folder}"
    )
    return 0
