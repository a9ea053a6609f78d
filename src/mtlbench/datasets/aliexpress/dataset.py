"""AliExpress Searching System Dataset: products on search result pages, each clicked or not, bought or not.

Source: https://tianchi.aliyun.com/dataset/74690 (registration needed). Pengcheng Li et al., "Improving Multi-Scenario
Learning to Rank in E-commerce by Exploiting Task Relationships in the Label Space", CIKM 2020. Terms: the page names no
licence; take the data to be for research under the platform's terms, and do not redistribute them.

The publisher split train and test by time and states no row counts; the 5,559,301 rows of the Dutch test part are known
from a public training log.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from mtlbench.checks import one_of
from mtlbench.datasets.aliexpress.layout import (
    ITEM_COLUMNS,
    ITEM_IDS,
    ITEM_NUMBERS,
    LABEL,
    PAGE,
    PAGE_COLUMNS,
    PAGE_IDS,
    PAGE_NUMBERS,
    SEARCH_ID,
)
from mtlbench.datasets.aliexpress.simulator import AliExpressPopulation, simulate
from mtlbench.ingest.cells import Id, Number, OneOf
from mtlbench.ingest.csv import CsvColumn, read_table
from mtlbench.ingest.protocol import KEY, ROWS, Block, RawFile, Shard
from mtlbench.schema import Field, Task

Country = Literal["NL", "ES", "FR", "US", "RU"]
Form = Literal["raw", "processed"]
Numbers = Literal["together", "apart"]

TASKS = (Task(name="click", label="click"), Task(name="conversion", label="conversion", given="click"))
NL_TEST_ROWS = 5_559_301


@dataclass(frozen=True, kw_only=True)
class AliExpress:
    """One country's files: 16 ids and 63 numbers (all within 0 to 1 in the rows at hand) of pages and products.

    User and query are the same for all products of a page, so they are stored once, in the dimension table ``page``.
    ``group`` is the page. Train and test number their pages from the same beginning (in the rows at hand the same
    number names different pages), so the group of a test page is ``-1 - search id``.

    Attributes:
        country: whose files.
        form: ``raw`` are the publisher's four files, two for pages and two for products; ``processed`` the
            ``train.csv`` and ``test.csv`` that MTReclib makes of them and publishes, with pages repeated in each row.
        numbers: ``together`` reads the numbers of a page as one field of 23 components and those of a product as one
            of 40; ``apart`` reads 63 fields of one component.

    Departure: MTReclib maps all 63 numbers by one linear layer. ``together`` separates those of a page from those of a
    product, as they are in different tables; a sum of two linear maps is one linear map of both.
    """

    country: Country = "NL"
    form: Form = "raw"
    numbers: Numbers = "together"

    name = "aliexpress"
    version = 2
    simulator_version = 2
    tasks = TASKS

    def __post_init__(self) -> None:
        one_of("aliexpress: country", self.country, Country)
        one_of("aliexpress: form", self.form, Form)
        one_of("aliexpress: numbers", self.numbers, Numbers)

    @property
    def where(self) -> str:
        if self.form == "processed":
            return (
                "MTReclib (https://github.com/easezyc/Multitask-Recommendation-Library) links train.csv and test.csv "
                "of four countries; or read the publisher's own files with dataset.files=raw"
            )
        return (
            f"https://tianchi.aliyun.com/dataset/74690 (log in): unpack aliexpress_{self.country}_datasets.zip and "
            "the four zip files in it; or set dataset.source=simulated for synthetic data"
        )

    @property
    def fields(self) -> tuple[Field, ...]:
        page = PAGE if self.form == "raw" else None
        return (
            *(Field(name=name, role="user", table=page) for name in PAGE_IDS),
            *(Field(name=name, role="item") for name in ITEM_IDS),
            *self._number_fields("page_numbers", PAGE_NUMBERS, role="user", table=page),
            *self._number_fields("item_numbers", ITEM_NUMBERS, role="item", table=None),
        )

    @property
    def files(self) -> tuple[RawFile, ...]:
        if self.form == "processed":
            return (self._file("train.csv", ROWS, "train"), self._file("test.csv", ROWS, "test"))
        code = self.country.lower()
        published = NL_TEST_ROWS if self.country == "NL" else None
        return (
            self._file(f"{code}_user_train.csv", PAGE, "train"),
            self._file(f"{code}_item_train.csv", ROWS, "train"),
            self._file(f"{code}_user_test.csv", PAGE, "test"),
            replace(self._file(f"{code}_item_test.csv", ROWS, "test"), published_rows=published),
        )

    def read(self, shard: Shard) -> Iterator[Block]:
        """The lines of a shard in blocks; see `mtlbench.ingest.protocol.Block`."""
        names = None if self.form == "processed" else PAGE_COLUMNS if shard.file.table == PAGE else ITEM_COLUMNS
        for block in read_table(shard, _columns(self.form, shard.file.table), names=names):
            yield replace(block, columns=self._arranged(block.columns, shard.file))

    def simulate(
        self,
        folder: Path,
        *,
        rows: int = 100_000,
        test_rows: int | None = None,
        seed: int = 0,
        rates: Literal["auto", "sparse", "demo"] = "auto",
        relatedness: float = 0.5,
        structure: bool = True,
    ) -> None:
        """Write a synthetic data set in the publisher's form; see `mtlbench.datasets.aliexpress.simulator`."""
        if self.form != "raw":
            raise ValueError("aliexpress: only the publisher's form is simulated; set dataset.files=raw")
        population = AliExpressPopulation(
            rows=rows,
            test_rows=rows // 4 if test_rows is None else test_rows,
            seed=seed,
            rates=rates,
            relatedness=relatedness,
            structure=structure,
        )
        simulate(Path(folder), self.country, population, version=self.simulator_version)

    def _file(self, name: str, table: str, part: Literal["train", "test"]) -> RawFile:
        folders = (f"aliexpress_{self.country}_datasets", self.country, f"AliExpress_{self.country}")
        return RawFile(name=name, other_names=tuple(f"{folder}/{name}" for folder in folders), table=table, part=part)

    def _number_fields(self, name: str, components: tuple[str, ...], *, role: str, table: str | None) -> list[Field]:
        if self.numbers == "together":
            return [Field(name=name, kind="number", width=len(components), role=role, table=table)]
        return [Field(name=component, kind="number", role=role, table=table) for component in components]

    def _arranged(self, columns: pa.RecordBatch, file: RawFile) -> pa.RecordBatch:
        """The columns that the protocol asks for."""
        arranged = dict(zip(columns.schema.names, columns.columns, strict=True))
        page = arranged.pop(SEARCH_ID)
        if file.table == PAGE:
            arranged[KEY] = page
        elif self.form == "raw":
            arranged[f"{KEY}:{PAGE}"] = page
            label = arranged.pop(LABEL).to_numpy()
            arranged |= {
                "click": pa.array((label > 0).view(np.int8)),
                "conversion": pa.array((label > 1).view(np.int8)),
            }
        if file.table == PAGE or self.form == "processed":
            arranged["group"] = pa.array(~page.to_numpy() if file.part == "test" else page.to_numpy())
        if self.numbers == "together":
            for name, components in (("page_numbers", PAGE_NUMBERS), ("item_numbers", ITEM_NUMBERS)):
                if components[0] in arranged:
                    together = np.stack([arranged.pop(component).to_numpy() for component in components], axis=1)
                    arranged[name] = pa.FixedSizeListArray.from_arrays(pa.array(together.ravel()), len(components))
        return pa.RecordBatch.from_pydict(arranged)


def _columns(form: Form, table: str) -> list[CsvColumn]:
    """The columns of a file and what their cells hold."""
    pages, items = form == "processed" or table == PAGE, table == ROWS
    ids = (PAGE_IDS if pages else ()) + (ITEM_IDS if items else ())
    numbers = (PAGE_NUMBERS if pages else ()) + (ITEM_NUMBERS if items else ())
    binary, label = OneOf((0, 1), pa.int8()), OneOf((0, 1, 2), pa.int8())
    labels = {"click": binary, "conversion": binary} if form == "processed" else {LABEL: label} if items else {}
    cells = {**dict.fromkeys((SEARCH_ID, *ids), Id()), **dict.fromkeys(numbers, Number()), **labels}
    return [CsvColumn(name=name, source=name, cell=cell) for name, cell in cells.items()]
