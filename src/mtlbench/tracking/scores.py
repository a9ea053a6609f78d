"""Log-odds of a run's test rows, stored in its folder for tests that resample rows (paired bootstrap).

``scores.parquet`` has a float32 column per task, in the order of the test rows. Its metadata contain the identity of
the run and the SHA-256 of the columns.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mtlbench.distributed.job import first_only
from mtlbench.files import write_beside
from mtlbench.tracking.files import DamagedFileError, read_content

SCORES = "scores.parquet"

MOST_ROWS = 10_000_000
"""Maximum number of test rows for which ``run.keep_scores=auto`` stores log-odds: 40 MB per task."""

REMEDY = "Remove it; run.keep_scores=true computes it again from the weights when a table is made"


def keeps_scores(keep: bool | Literal["auto"], rows: int) -> bool:
    """Whether a run stores its log-odds, by ``run.keep_scores``."""
    return rows <= MOST_ROWS if keep == "auto" else keep


@first_only
def write_scores(folder: Path, identity: str, tasks: Sequence[str], log_odds_NT: np.ndarray) -> None:
    """Write the log-odds of all N test rows and T tasks, float32 ``[N, T]``."""
    columns = {task: np.ascontiguousarray(log_odds_NT[:, t], np.float32) for t, task in enumerate(tasks)}
    about = {"run": identity, "split": "test", "sha256": _digest(columns)}
    table = pa.table({task: _as_arrow(column) for task, column in columns.items()}).replace_schema_metadata(about)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none")
    write_beside(folder / SCORES, sink.getvalue().to_pybytes())


def read_scores(folder: Path, identity: str) -> dict[str, np.ndarray] | None:
    """Log-odds of the test rows by task, float32 ``[N]``; ``None`` if the run has not stored them.

    Raises:
        DamagedFileError: the file is damaged, was edited, or belongs to another run.
    """
    path = folder / SCORES
    if not path.exists():
        return None
    try:
        table = pq.read_table(pa.BufferReader(read_content(path, REMEDY)))
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(f"{path} is damaged: {error}. {REMEDY}") from error
    about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    for key, expected in (("run", identity), ("sha256", _digest(columns))):
        if about.get(key) != expected:
            raise DamagedFileError(f"{path} is damaged: its {key} is {about.get(key)}, expected {expected}. {REMEDY}")
    return columns


def _as_arrow(column: np.ndarray) -> pa.Array:
    """What `pa.array` makes of it, which would import pandas: 0.15 s, and most runs need it for nothing else."""
    return pa.Array.from_buffers(pa.float32(), len(column), [None, pa.py_buffer(column)])


def _digest(columns: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for task, column in columns.items():
        digest.update(task.encode())
        digest.update(column.tobytes())
    return digest.hexdigest()
