"""The cost of a shuffle buffer: test AUC by size of the buffer, on real rows in an unfavourable order.

    python -m scripts.bench_shuffle --raw FOLDER      the table in docs/scale.md

FOLDER holds the raw files of Census-Income and KuaiRand-Pure, in ``census`` and ``kuairand``. Training rows are
in the order of the raw file (KuaiRand: by time) or sorted by label, the worst case: a block has rows of one class.
A small Shared-Bottom, blocks of 512 rows, means and standard deviations over seeds.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

from mtlbench.cli import main as mtlbench
from mtlbench.data.loader import Rows
from mtlbench.data.store import Store
from mtlbench.tracking.folder import read_result

BLOCK = 512
SIDES = {"census": ("as it is", "by label"), "kuairand": ("by time", "by label")}
"""Data sets, and orders of their training rows."""
SORTED = "by label"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--buffers", type=int, nargs="*", default=[0, 1, 8, 32, 128], help="in blocks; 0: none")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for dataset, orders in SIDES.items():
            for order in orders:
                for buffer in arguments.buffers:
                    found = [
                        trained(Path(folder), arguments.raw, dataset, order, buffer, seed, arguments.epochs)
                        for seed in range(arguments.seeds)
                    ]
                    print(f"| {dataset}, {order} | {buffer or 'all rows'} | {' | '.join(columns(found))} |", flush=True)


def trained(folder: Path, raw: Path, dataset: str, order: str, buffer: int, seed: int, epochs: int) -> dict[str, float]:
    """Test AUC by task of one run."""
    read = Store.split

    def in_order(store: Store, name: str) -> Rows:
        rows = read(store, name)
        return by_label(rows) if name == "train" and order == SORTED else rows

    runs = folder / f"{dataset}-{order}-{buffer}-{seed}"
    words = [
        "train", "model=shared_bottom", f"dataset={dataset}", f"dataset.raw={raw / dataset}", f"seed={seed}",
        "optimizer=lazy_adam", f"trainer.epochs={epochs}", "trainer.patience=null", "tracker=none",
        f"run.data={folder / 'data'}", f"run.folder={runs}",
    ]  # fmt: skip
    words += [f"trainer.shuffle_buffer={buffer * BLOCK}", f"trainer.shuffle_block={BLOCK}"] if buffer else []
    with patch.object(Store, "split", in_order), contextlib.redirect_stdout(io.StringIO()):
        assert mtlbench(words) == 0
    (run,) = (path.parent for path in runs.glob("*/result.json"))
    metrics = read_result(run).metrics
    return {name: value for name, value in metrics.items() if name.startswith("test/") and name.endswith("/auc")}


def by_label(rows: Rows) -> Rows:
    """The same rows, sorted by their labels."""
    key_N = torch.zeros(len(rows), dtype=torch.int64)
    for label_N in rows.columns["labels"].unbind(dim=1):
        key_N = 2 * key_N + (label_N > 0)
    at = key_N.argsort(stable=True)
    columns = {name: column[at] for name, column in rows.columns.items()}
    return replace(rows, columns=columns, pointers={name: pointer[at] for name, pointer in rows.pointers.items()})


def columns(found: list[dict[str, float]]) -> list[str]:
    """Mean and standard deviation of each task."""
    return [
        f"{name.split('/')[1]} {statistics.mean(run[name] for run in found):.4f} "
        f"+- {statistics.stdev(run[name] for run in found):.4f}"
        for name in found[0]
    ]


if __name__ == "__main__":
    main()
