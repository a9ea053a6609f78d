"""Training from a store larger than memory: rows per second and peak memory under a limit, by order of rows.

    python -m scripts.bench_memory            the table in docs/scale.md
    python -m scripts.bench_memory --help

The store has 60 single-valued fields of 1,000 values each and two tasks, 243 bytes per row; its training rows are a few
rows repeated, since throughput does not depend on their content. Each side is ``mtlbench train`` in a separate memory
control group, whose limit includes the page cache.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from mtlbench.data import matrices
from mtlbench.data.layout import row_columns
from mtlbench.data.store import SEAL, Store, open_store, write_manifest
from mtlbench.files import checksum
from scripts.memory_limit import memory_group

FIELDS, VALUES, ROWS, BATCH = 60, 1000, 40_000, 1024
BLOCK_BYTES = 512
"""Unit of ``ru_inblock``."""
SMALL = (
    "model=shared_bottom", "profile.embedding_width=2", "model.bottom_layers=[4]",
    "model.tower_layers=[2]", "optimizer=lazy_adam", "trainer.epochs=null", f"trainer.batch_size={BATCH}",
    "run.tracker.uri=null",
)  # fmt: skip
"""A model so small that reading takes most of the time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=5.0, help="of the store")
    parser.add_argument("--limit", type=float, default=0.1, help="memory, as a share of the store")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--buffers", type=int, nargs="*", default=[0, 65_536, 262_144], help="0: all rows are shuffled")
    parser.add_argument("--free", action="store_true", help="each side also without a limit")
    arguments = parser.parse_args()
    print("| rows of the buffer | store GB | limit MB | peak MB | rows/s | read bytes per row |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        store = large_store(Path(folder), arguments.gigabytes)
        size = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file())
        for buffer in arguments.buffers:
            for limit in (int(arguments.limit * size), *([1 << 50] if arguments.free else [])):
                found = trained(Path(folder), limit, buffer or None, arguments.steps)
                print(
                    f"| {buffer or 'none'} | {size / 1e9:.1f} | {limit / 1e6:,.0f} | {' | '.join(found)} |", flush=True
                )


def large_store(folder: Path, gigabytes: float, *, holes: bool = False) -> Store:
    """Prepare some rows, and repeat those of the training split until the store is large.

    Args:
        folder: gets the raw file and the store.
        gigabytes: size.
        holes: whether nothing is repeated: all other rows are zeros that take no space on the disk.
    """
    draw = np.random.default_rng(0)
    columns = {f"f{i}": draw.integers(VALUES, size=ROWS).astype(np.int32) for i in range(FIELDS)}
    labels = {f"t{i}": draw.integers(2, size=ROWS).astype(np.int8) for i in range(2)}
    raw = folder / "raw"
    raw.mkdir()
    pq.write_table(pa.table(columns | labels), raw / "rows.parquet")
    schema = {
        "rows": {"train": "rows.parquet"},
        "fields": [{"name": name} for name in columns],
        "tasks": [{"name": name, "label": name} for name in labels],
    }
    (folder / "schema.yaml").write_text(yaml.safe_dump(schema))
    command(folder, "prepare", "dataset=parquet")
    (store,) = (open_store(path.parent) for path in folder.glob("data/**/manifest.json"))
    rows = store.folder / "rows" / "train.arrow"
    few = matrices.read(rows)
    times = round(gigabytes * 1e9 / rows.stat().st_size)
    count = len(few["labels"])
    large = matrices.create(rows.with_suffix(".large"), count * times, row_columns(store.schema, truth=False))
    for name, matrix in few.items():
        for first in range(0, count if holes else count * times, count):
            large.write(name, first, matrix)
    large.path.replace(rows)
    files = store.manifest["files"] | {"rows/train.arrow": {"bytes": rows.stat().st_size, "sha256": checksum(rows)}}
    write_manifest(store.folder, {key: v for key, v in store.manifest.items() if key != SEAL} | {"files": files})
    os.sync()
    return open_store(store.folder)


def trained(folder: Path, limit: int, buffer: int | None, steps: int) -> list[str]:
    """Peak memory of the control group, rows per second, and bytes read from disk per row, of some steps."""
    runs = folder / f"runs-{buffer}-{limit}"
    words = [*SMALL, f"trainer.steps={steps}", f"run.folder={runs}"]
    words += [f"trainer.shuffle_buffer={buffer}"] if buffer else []
    before = getrusage(RUSAGE_CHILDREN).ru_inblock
    with memory_group(limit) as group:
        command(folder, "train", *words, enter=group.enter)
        peak = group.peak
    read = BLOCK_BYTES * (getrusage(RUSAGE_CHILDREN).ru_inblock - before)
    (result,) = (json.loads(path.read_text()) for path in runs.glob("*/result.json"))
    return [f"{peak / 1e6:,.0f}", f"{result['rows_per_second']:,.0f}", f"{read / (steps * BATCH):,.0f}"]


def command(folder: Path, name: str, *words: str, enter: Callable[[], None] | None = None) -> None:
    """Run an mtlbench command on the store in a folder."""
    data = [f"run.data={folder / 'data'}", f"dataset.raw={folder / 'raw'}", f"dataset.schema={folder / 'schema.yaml'}"]
    line = [sys.executable, "-m", "mtlbench", name, "dataset=parquet", *data, *words]
    subprocess.run(line, check=True, stdout=sys.stderr, preexec_fn=enter, env=os.environ | {"OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
