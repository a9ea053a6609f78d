"""Synthetic stand-ins for unpublished data sets, matched to the statistics in the papers.

Alipay Advertising: Ding et al., "MSSM: A Multiple-level Sparse Sharing Model for Efficient Multi-Task Learning", SIGIR
2021, section 3.1.2 (Ant Group). Xiaomi Radio: "DCRNN: Deep Cross network based on RNN for partial parameter sharing in
multi-task learning", section "Xiaomi Radio's recommendation" (Xiaomi). There are no real files, so every result on
these names is SIMULATED; a figure made here says nothing about the figures of the papers. The raw format is ours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from mtlbench.datasets.unpublished.layout import OFFER, PROFILE, Statistics
from mtlbench.datasets.unpublished.simulator import UnpublishedPopulation, simulate
from mtlbench.ingest.cells import Id, OneOf
from mtlbench.ingest.csv import CsvColumn, read_table
from mtlbench.ingest.protocol import ROWS, Block, RawError, RawFile, Shard
from mtlbench.schema import Field, Task


@dataclass(frozen=True, kw_only=True)
class Unpublished(Statistics):
    """A user and an item per row, three attributes of the user, two of the item, and two labels.

    Departure: papers state the numbers of rows, users and items, the tasks and, in part, their rates; not the inputs,
    of which there are seven here (DCRNN's windows on Xiaomi Radio, L = 5 and I = 2, span seven).

    Attributes:
        owner: owner of the data.
        paper: source of the statistics.
    """

    owner: str
    paper: str

    version = 1
    simulator_version = 2

    def __post_init__(self) -> None:
        shares = (*self.rates, *self.ceilings)
        if (
            len(self.labels) != 2
            or {len(self.rates), len(self.ceilings)} != {2}
            or not all(0 < share < 1 for share in shares)
        ):
            raise ValueError(
                f"{self.name}: labels are {list(self.labels)}, rates {list(self.rates)} and ceilings "
                f"{list(self.ceilings)}; there must be two of each, rates and ceilings above 0 and below 1"
            )
        if self.chained and self.rates[1] > self.rates[0]:
            raise ValueError(
                f"{self.name}: rates are {list(self.rates)}; {self.labels[1]} needs {self.labels[0]} and is no likelier"
            )

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The fields, and how many values each has at the published number of rows."""
        return {"user": self.users, **PROFILE, self.item: self.items, **OFFER}

    @property
    def fields(self) -> tuple[Field, ...]:
        roles = {"user": "user", **dict.fromkeys(PROFILE, "user")}
        return tuple(Field(name=name, role=roles.get(name, "item")) for name in self.sizes)

    @property
    def tasks(self) -> tuple[Task, ...]:
        first, second = self.labels
        return Task(name=first, label=first), Task(name=second, label=second, given=first if self.chained else None)

    @property
    def files(self) -> tuple[RawFile, ...]:
        return (RawFile(name=f"{self.name}.csv", table=ROWS, part="train"),)

    @property
    def where(self) -> str:
        return (
            f"Private data of {self.owner}, never published: simulated to the printed statistics of {self.paper}. "
            "Set dataset.source=simulated; there is nothing else"
        )

    def read(self, shard: Shard) -> Iterator[Block]:
        """The lines of a shard in blocks; see `mtlbench.ingest.protocol.Block`.

        Raises:
            RawError: the file was not written by a simulator.
        """
        if not (shard.path.parent / "simulated.json").is_file():
            raise RawError(f"{shard.path} was not written by a simulator, and cannot be the real thing. {self.where}")
        numbers = [CsvColumn(name=name, source=name, cell=Id()) for name in self.sizes]
        labels = [CsvColumn(name=name, source=name, cell=OneOf((0, 1), pa.int8())) for name in self.labels]
        group = CsvColumn(name="group", source="user", cell=Id())
        return read_table(shard, (*numbers, group, *labels))

    def simulate(
        self,
        folder: Path,
        *,
        rows: int = 100_000,
        seed: int = 0,
        relatedness: float = 0.5,
        structure: bool = True,
    ) -> None:
        """Write a synthetic data set; see `mtlbench.datasets.unpublished.simulator`."""
        population = UnpublishedPopulation(
            published=self, rows=rows, seed=seed, relatedness=relatedness, structure=structure
        )
        simulate(Path(folder), population, version=self.simulator_version, note=self.where)
