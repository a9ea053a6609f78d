"""``mtlbench prepare``: turns raw files into a store."""

from pathlib import Path

import click

from mtlbench.cli import arguments


@click.command(cls=arguments.Command)
@arguments.overrides()
def command(overrides: list[str]) -> None:
    """Turn a data set's raw files into a store.

    Reads the raw files of a data set (dataset.raw=FOLDER, by default <run.data>/raw/<name>), splits the rows, fits
    vocabularies and scales on training rows only, and writes a store that all runs with the same data settings share.
    A damaged line is an error (dataset.on_error=fail) or is set aside and counted (dataset.on_error=quarantine).

    An existing store is verified: the content hash of each file is compared with the manifest.

    \b
    Example:
      mtlbench prepare dataset=census dataset.raw=/data/census
    """
    from mtlbench.cli.compose import compose
    from mtlbench.experiment.check import check_dataset_keys
    from mtlbench.experiment.data import open_or_prepare, resolve_data
    from mtlbench.report.store import store_text

    config = compose(overrides)
    check_dataset_keys(config.dataset)
    data = resolve_data(config.dataset, Path(config.run.data))
    existed = data.store.exists()
    store = open_or_prepare(data)
    if existed:
        print(f"already prepared, and verified: {len(store.manifest['files'])} files match the manifest")
    print(store_text(store))
