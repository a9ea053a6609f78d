"""``mtlbench prepare``: raw files to a store."""

from pathlib import Path

from mtlbench.cli.compose import compose

USAGE = """usage: mtlbench prepare dataset=<name> [<key>=<value> ...]

Reads the raw files of a data set (dataset.raw=<folder>, by default <run.data>/raw/<name>), fits vocabularies and scales
on training rows only, splits, and writes a store that every run of the same configuration uses. Damaged lines
are refused (dataset.on_error=fail) or set aside and counted (dataset.on_error=quarantine).

A store that exists is verified: the content hash of each of its files is compared with its manifest.
"""


def run(arguments: list[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    config = compose(arguments)
    from mtlbench.cli.show import store_text
    from mtlbench.experiment.data import locate, stored

    data = locate(config.dataset, Path(config.run.data))
    existed = data.store.exists()
    store = stored(data)
    if existed:
        print(f"already prepared, and verified: {len(store.manifest['files'])} files are what the manifest says")
    print(store_text(store))
    return 0
