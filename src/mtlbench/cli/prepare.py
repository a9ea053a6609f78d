"""``mtlbench prepare``: raw files to a store."""

from pathlib import Path

from mtlbench.cli.compose import compose

VERIFY = "--verify"
USAGE = """usage: mtlbench prepare dataset=<name> [--verify] [<key>=<value> ...]

Reads the raw files of a data set (dataset.raw=<folder>, by default <run.data>/raw/<name>), fits vocabularies and scales
on training rows only, splits, and writes a store that every run of the same configuration uses. Damaged lines
are refused (dataset.on_error=fail) or set aside and counted (dataset.on_error=quarantine).

--verify reads every file of the store and compares its checksum with the manifest: of a store that was copied, say.
"""


def run(arguments: list[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    config = compose([word for word in arguments if word != VERIFY])
    from mtlbench.cli.show import store_text
    from mtlbench.experiment.data import locate, stored

    data = locate(config.dataset, Path(config.run.data))
    existed = data.store.exists()
    store = stored(data)
    if existed:
        print(f"already prepared: {data.store}")
    if VERIFY in arguments:
        store.verify()
        print(f"verified: {len(store.manifest['files'])} files are what the manifest says")
    print(store_text(store))
    return 0
