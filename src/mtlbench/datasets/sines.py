"""The synthetic regression study of the MMoE paper: two sums of sines whose relatedness is a cosine. SIMULATED.

Source: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018,
section 3.2. No files were published; terms: none apply, every file is written here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mtlbench.checks import at_least
from mtlbench.datasets.parquet.dataset import ParquetFolder
from mtlbench.datasets.simulated_files import check_settings, write_mark
from mtlbench.ingest.protocol import ROWS, Block, RawFile, Shard
from mtlbench.schema import Field, Task

NOISE = 0.1
"""Deviation of the noise: the paper's N(0, 0.01), read as a variance."""


@dataclass(frozen=True, kw_only=True)
class SinesConfig:
    """What to simulate.

    Attributes:
        rows: of the file.
        seed: of everything.
        correlation: p, the cosine of the two tasks' weight vectors.
        scale: c, their length.
        sines: m, how many are summed.
        structure: False draws labels that are independent of the inputs, with the same distribution.
    """

    rows: int
    seed: int
    correlation: float
    scale: float
    sines: int
    structure: bool

    def __post_init__(self) -> None:
        check_settings(
            "sines",
            self,
            rows=(100, 10_000_000),
            seed=(0, 2**63),
            correlation=(-1, 1),
            scale=(0, 1000),
            sines=(0, 1000),
        )


@dataclass(frozen=True, kw_only=True)
class Sines:
    """Inputs x ~ N(0, I) in d dimensions, a number field each, and two regression tasks.

    ``y_t = w_t . x + sum_i sin(alpha_i w_t . x + beta_i) + noise`` with ``w_1 = c u_1`` and
    ``w_2 = c (p u_1 + sqrt(1 - p^2) u_2)`` for two orthogonal unit vectors drawn at random, ``noise ~ N(0, 0.01)``.

    Departure: d, c, m, alpha and beta are our choice, as the text at hand states none of them: d = 100, c = 1, m = 5,
    ``alpha_i = i / 2``, ``beta_i = i / 4`` (i = 1..m), the same for both tasks.

    Args:
        dimensions: d.
    """

    dimensions: int = 100

    name = "sines"
    version = 1
    simulator_version = 1
    where = "They were never published: set dataset.source=simulated, or name a folder that `mtlbench simulate` wrote"
    files = (RawFile(name="sines.parquet", table=ROWS, part="train", splittable=False),)

    def __post_init__(self) -> None:
        at_least("sines: dimensions", self.dimensions, 2)

    @property
    def fields(self) -> tuple[Field, ...]:
        return self._folder.fields

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self._folder.tasks

    def read(self, shard: Shard) -> Iterator[Block]:
        """Read the file in blocks; see `mtlbench.ingest.protocol`."""
        return self._folder.read(shard)

    def quote(self, path: Path, lines: Sequence[int]) -> Iterator[bytes]:
        """The content of some rows of the file."""
        return self._folder.quote(path, lines)

    def simulate(
        self,
        folder: Path,
        *,
        rows: int = 20_000,
        seed: int = 0,
        correlation: float = 0.5,
        scale: float = 1.0,
        sines: int = 5,
        structure: bool = True,
    ) -> None:
        """Write the file and ``simulated.json``."""
        config = SinesConfig(
            rows=rows, seed=seed, correlation=correlation, scale=scale, sines=sines, structure=structure
        )
        random = np.random.default_rng(seed)
        weight_TD = weights(random, self.dimensions, config.correlation, config.scale)
        x_ND = random.normal(size=(rows, self.dimensions)).astype(np.float32)
        causes_ND = x_ND if structure else random.normal(size=x_ND.shape)
        label_NT = means(causes_ND @ weight_TD.T, config.sines) + NOISE * random.normal(size=(rows, 2))
        columns = {field.name: x_ND[:, at] for at, field in enumerate(self.fields)}
        columns |= {task.label: label_NT[:, at] for at, task in enumerate(self.tasks)}
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path / self.files[0].name, use_dictionary=False)
        write_mark(path, self.name, self.simulator_version, config)

    @cached_property
    def _folder(self) -> ParquetFolder:
        """The reader of a Parquet file with these columns."""
        inputs: list[dict[str, Any]] = [
            {"name": f"x{at}", "kind": "number", "role": "context"} for at in range(self.dimensions)
        ]
        tasks = [{"name": name, "label": f"{name}_value", "kind": "regression"} for name in ("first", "second")]
        return ParquetFolder(
            description={"rows": {"train": self.files[0].name}, "fields": inputs, "tasks": tasks}, files=self.files
        )


def weights(random: np.random.Generator, dimensions: int, correlation: float, scale: float) -> np.ndarray:
    """The tasks' weight vectors, float64 ``[2, D]``, of length `scale` and with cosine `correlation`."""
    unit_DT = np.linalg.qr(random.normal(size=(dimensions, 2)))[0]
    other = np.sqrt(1 - correlation**2)
    return scale * np.stack([unit_DT[:, 0], correlation * unit_DT[:, 0] + other * unit_DT[:, 1]])


def means(z: np.ndarray, sines: int) -> np.ndarray:
    """Labels without noise, element-wise, of the inputs' products z with the weights."""
    at = np.arange(1, sines + 1)
    return z + np.sin(z[..., None] * at / 2 + at / 4).sum(axis=-1)
