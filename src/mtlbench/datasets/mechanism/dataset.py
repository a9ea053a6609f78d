"""Synthetic data with the mechanism that a part of a model exploits, or without it. All of it is SIMULATED.

A part of a model can only help where the data have what it exploits: fields that matter to one task, sub-functions that
tasks share in part, routes that depend on the input, and so on (`mtlbench.datasets.mechanism.worlds`). A data set with
the mechanism (a world) and one without have the same fields, rows, rates and ceilings.

Source: none; made by this benchmark, in its own format. Terms: those of the benchmark.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mtlbench.checks import one_of
from mtlbench.datasets.mechanism.simulator import PARTS, MechanismPopulation, simulate
from mtlbench.datasets.mechanism.worlds import MECHANISMS, Mechanism
from mtlbench.ingest.cells import Id, ListOf, OneOf
from mtlbench.ingest.csv import CsvColumn, read_table
from mtlbench.ingest.protocol import ROWS, Block, RawError, RawFile, Shard
from mtlbench.schema import Field, Task


@dataclass(frozen=True, kw_only=True)
class MechanismWorld:
    """Ids and two or three labels per row; a history of items or a source where the mechanism needs one.

    Attributes:
        mechanism: see `mtlbench.datasets.mechanism.worlds.MECHANISMS`.
    """

    mechanism: str

    name = "mechanism"
    version = 1
    simulator_version = 2
    where = "They are always simulated: set dataset.source=simulated; there is nothing else"

    def __post_init__(self) -> None:
        one_of("mechanism: dataset.mechanism", self.mechanism, tuple(MECHANISMS))

    @property
    def fields(self) -> tuple[Field, ...]:
        fields = tuple(Field(name=name, role="item" if name == "item" else None) for name in self._kind.fields)
        if not self._kind.history:
            return fields
        history = Field(name="history", width=self._kind.history, vocabulary="item", target="item", role="history")
        return (*fields, history)

    @property
    def tasks(self) -> tuple[Task, ...]:
        names = (f"task_{task + 1}" for task in range(self._kind.tasks))
        return tuple(Task(name=name, label=name) for name in names)

    @property
    def files(self) -> tuple[RawFile, ...]:
        train, test = PARTS.values()
        return RawFile(name=train, table=ROWS, part="train"), RawFile(name=test, table=ROWS, part="test")

    def read(self, shard: Shard) -> Iterator[Block]:
        """The lines of a shard in blocks; see `mtlbench.ingest.protocol.Block`.

        Raises:
            RawError: the file was not written by the simulator.
        """
        if not (shard.path.parent / "simulated.json").is_file():
            raise RawError(f"{shard.path} was not written by a simulator, and cannot be the real thing. {self.where}")
        columns = [CsvColumn(name=name, source=name, cell=Id()) for name in self._kind.fields]
        if self._kind.history:
            columns.append(CsvColumn(name="history", source="history", cell=ListOf(Id(), " ", self._kind.history)))
        if self._kind.shifting:
            columns.append(CsvColumn(name="source", source="source", cell=Id()))
        labels = (CsvColumn(name=task.name, source=task.name, cell=OneOf((0, 1), pa.int8())) for task in self.tasks)
        return read_table(shard, (*columns, *labels))

    def simulate(
        self,
        folder: Path,
        *,
        rows: int = 50_000,
        test_rows: int | None = None,
        seed: int = 0,
        planted: bool = True,
        rate: float = 0.2,
        ceiling: float = 0.82,
        structure: bool = True,
    ) -> None:
        """Write a world; see `mtlbench.datasets.mechanism.simulator`."""
        population = MechanismPopulation(
            mechanism=self.mechanism,
            planted=planted,
            rows=rows,
            test_rows=rows if test_rows is None else test_rows,
            seed=seed,
            rate=rate,
            ceiling=ceiling,
            structure=structure,
        )
        simulate(Path(folder), population, version=self.simulator_version)

    @property
    def _kind(self) -> Mechanism:
        return MECHANISMS[self.mechanism]
