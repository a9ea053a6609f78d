"""Ali-CCP: 85 million impressions in Taobao's recommendations, each clicked or not, bought or not.

Source: https://tianchi.aliyun.com/dataset/408 (registration needed). Xiao Ma et al., "Entire Space Multi-Task Model: An
Effective Approach for Estimating Post-Click Conversion Rate", SIGIR 2018, arXiv:1804.07931. Terms: the page names no
licence; take the data to be for research under the platform's terms, and do not redistribute them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from mtlbench.checks import one_of
from mtlbench.datasets.aliccp import fast_reader
from mtlbench.datasets.aliccp.fast_reader import AliCCPLines
from mtlbench.datasets.aliccp.layout import ALL, BY_CODE, COMMON, DIN, TARGETS, USUAL, RawField
from mtlbench.datasets.aliccp.population import AliCCPPopulation
from mtlbench.datasets.aliccp.reference_reader import AliCCPLine, read_line
from mtlbench.datasets.aliccp.simulator import simulate
from mtlbench.ingest.lines import read_blocks, read_one_by_one
from mtlbench.ingest.protocol import KEY, LINE, ROWS, WEIGHT_SUFFIX, Block, RawFile, Shard
from mtlbench.schema import Field, Task

FieldSet = Literal["usual", "all", "din"]
LARGEST = np.int64(2**63 - 1)


@dataclass(frozen=True, kw_only=True)
class AliCCP:
    """The four files of Ali-CCP, read.

    Attributes:
        field_set: ``usual`` are the 18 fields of AITM (users' profile, item, category, shop, brand, scenario and the
            crosses), ``all`` adds the item's intention nodes and the four behaviour bags of the past two weeks, ``din``
            is ``all`` without the four crosses (the choice of lambdaji's DeepMTL, with the item id).
        history_width: ids kept of each behaviour bag, by weight; published lists have 69 to 250 on average.
        intentions_width: ids kept of field 210 (mean 6.1 per row, up to 14 in the ten published rows at hand).
        cross_width: ids kept of field 853 (mean 1.4 per row, up to 3 in the ten published rows at hand). A width of
            1 makes any of these fields single-valued; of several ids the last one is kept, as in AITM.
        values: also give the values of the single-valued crosses 508, 509 and 702 as number fields; as weights they
            would cancel. Off by default, as in AITM, which keeps only ids.

    ``group`` is the user (field 101); the impressions of a common row without one (0.2 %) form a separate group, whose
    number is negative. ``source`` is the scenario (field 301), 0 where a row has none. A behaviour bag's ``target`` is
    the item field of the same kind.

    Departure: AITM keeps the last of several 853 ids and no value of any field; 853 is a weighted bag here. The
    crosses and the histories do not share the vocabularies of the fields they match: the files number them separately.
    """

    field_set: FieldSet = "usual"
    history_width: int = 50
    intentions_width: int = 16
    cross_width: int = 5
    values: bool = False

    name = "aliccp"
    version = 3
    simulator_version = 3
    where = (
        "https://tianchi.aliyun.com/dataset/408 (log in): unpack sample_train.tar.gz and sample_test.tar.gz; "
        "or set dataset.source=simulated for synthetic data"
    )
    tasks = (Task(name="click", label="click"), Task(name="conversion", label="conversion", given="click"))
    files = (
        RawFile(name="common_features_train.csv", table=COMMON, part="train", published_rows=730_600),
        RawFile(name="sample_skeleton_train.csv", table=ROWS, part="train", published_rows=42_300_135),
        RawFile(name="common_features_test.csv", table=COMMON, part="test", published_rows=884_212),
        RawFile(name="sample_skeleton_test.csv", table=ROWS, part="test", published_rows=43_016_840),
    )

    def __post_init__(self) -> None:
        one_of("aliccp: field_set", self.field_set, FieldSet)

    @property
    def fields(self) -> tuple[Field, ...]:
        ids = tuple(self._field(BY_CODE[code]) for code in self._codes)
        return ids + tuple(
            Field(name=_value_name(BY_CODE[code]), kind="number", role="cross") for code in self._value_codes
        )

    def read(self, shard: Shard) -> Iterator[Block]:
        """The lines of a shard in blocks; see `mtlbench.ingest.protocol.Block`.

        Raises:
            RawError: the file is not a text file of lines.
        """
        table = shard.file.table
        yield from read_blocks(
            shard,
            lambda text, first: self._at_once(text, table, first),
            lambda text, first: self._one_by_one(text, table, first),
        )

    def simulate(  # noqa: PLR0913 (knobs)
        self,
        folder: Path,
        *,
        rows: int = 200_000,
        test_rows: int | None = None,
        seed: int = 0,
        rates: Literal["auto", "official", "demo"] = "auto",
        relatedness: float = 0.5,
        structure: bool = True,
        history: float = 40.0,
        behaviour: float | Literal["auto"] = "auto",
        shift: float | Literal["auto"] = "auto",
        contradictions: float = 0.0,
    ) -> None:
        """Write a synthetic data set in the publisher's format; see `mtlbench.datasets.aliccp.simulator`."""
        visible = 0.0 if self.field_set == "usual" else 0.5  # the usual fields hold no behaviours
        population = AliCCPPopulation(
            rows=rows,
            test_rows=rows // 4 if test_rows is None else test_rows,
            seed=seed,
            rates=rates,
            relatedness=relatedness,
            structure=structure,
            history=history,
            contradictions=contradictions,
            behaviour=visible if behaviour == "auto" else behaviour,
            shift=visible if shift == "auto" else shift,
        )
        simulate(Path(folder), population, version=self.simulator_version)

    @property
    def _codes(self) -> tuple[str, ...]:
        return {"usual": USUAL, "all": ALL, "din": DIN}[self.field_set]

    @property
    def _value_codes(self) -> tuple[str, ...]:
        return tuple(code for code in self._codes if self.values and BY_CODE[code].value and not BY_CODE[code].bag)

    def _field(self, raw: RawField) -> Field:
        width = self._width(raw)
        target = TARGETS.get(raw.code) if width > 1 else None
        return Field(
            name=raw.name,
            width=width,
            weighted=raw.bag and raw.value and width > 1,
            table=None if raw.table == ROWS else raw.table,
            role=raw.role,
            target=None if target is None else BY_CODE[target].name,
        )

    def _width(self, raw: RawField) -> int:
        wide = {"210": self.intentions_width, "853": self.cross_width}
        return wide.get(raw.code, self.history_width) if raw.bag else 1

    def _at_once(self, text: bytes, table: str, first: int) -> Block | None:
        lines = fast_reader.read_lines(text, table)
        return None if lines is None else Block(columns=self._columns(lines, table, first), lines=lines.key.size)

    def _one_by_one(self, text: bytes, table: str, first: int) -> Block:
        good, numbers, rejected = read_one_by_one(text, first, lambda line, ended: read_line(line, table, ended))
        columns = self._columns(_by_columns(good, table), table, np.array(numbers, np.int64))
        return Block(columns=columns, lines=len(good) + len(rejected), rejected=rejected)

    def _columns(self, lines: AliCCPLines, table: str, number: int | np.ndarray) -> pa.RecordBatch:
        """The record batch of these lines, of which the first (or each) has this number within the shard."""
        count = lines.key.size
        by_field, ends = np.argsort(lines.code, kind="stable"), np.cumsum(np.bincount(lines.code, minlength=len(ALL)))
        places = dict(zip(ALL, np.split(by_field, ends[:-1]), strict=True))
        columns: dict[str, pa.Array] = {
            LINE: pa.array(np.arange(number, number + count) if isinstance(number, int) else number, pa.int64()),
        }
        if table == ROWS:
            columns |= {
                "click": pa.array(lines.click),
                "conversion": pa.array(lines.conversion),
                f"{KEY}:{COMMON}": pa.array(lines.key),
                "source": pa.array(_ids_or(lines, places["301"], 0)),
            }
        else:
            # A row without a user forms a separate group: a negative number, made of all but one bit of the key.
            group = _ids_or(lines, places["101"], ~(lines.key & LARGEST))
            columns |= {KEY: pa.array(lines.key), "group": pa.array(group)}
        for code in self._codes:
            if BY_CODE[code].table == table:
                columns |= self._field_columns(code, lines, places[code])
        return pa.RecordBatch.from_pydict(columns)

    def _field_columns(self, code: str, lines: AliCCPLines, mine: np.ndarray) -> dict[str, pa.Array]:
        """The columns of one field, whose triples are at these places."""
        raw = BY_CODE[code]
        line, ids = lines.line[mine], lines.ids[mine]
        if self._width(raw) == 1:
            columns = {raw.name: _scattered(line, ids, lines.key.size)}
            if code in self._value_codes:
                columns[_value_name(raw)] = _scattered(line, lines.values[mine], lines.key.size)
            return columns
        ends = np.concatenate(([0], np.cumsum(np.bincount(line, minlength=lines.key.size)))).astype(np.int32)
        columns = {raw.name: pa.ListArray.from_arrays(ends, ids)}
        if raw.value:
            columns[raw.name + WEIGHT_SUFFIX] = pa.ListArray.from_arrays(ends, lines.values[mine])
        return columns


def _value_name(raw: RawField) -> str:
    return f"{raw.name}_value"


def _ids_or(lines: AliCCPLines, here: np.ndarray, absent: int | np.ndarray) -> np.ndarray:
    """The ids of a single-valued field, whose triples are at ``here``, or ``absent``: int64 ``[lines]``."""
    ids = np.broadcast_to(np.asarray(absent, np.int64), lines.key.shape).copy()
    ids[lines.line[here]] = lines.ids[here]
    return ids


def _scattered(line: np.ndarray, values: np.ndarray, lines: int) -> pa.Array:
    column, missing = np.zeros(lines, values.dtype), np.ones(lines, bool)
    column[line], missing[line] = values, False
    return pa.array(column, mask=missing)


def _by_columns(lines: list[AliCCPLine], table: str) -> AliCCPLines:
    triples = [(number, *triple) for number, line in enumerate(lines) for triple in line.triples]
    labelled = lines if table == ROWS else []
    return AliCCPLines(
        click=np.array([line.click for line in labelled], np.int8),
        conversion=np.array([line.conversion for line in labelled], np.int8),
        key=np.array([line.key for line in lines], np.int64),
        line=np.array([number for number, _, _, _ in triples], np.int64),
        code=np.array([ALL.index(code) for _, code, _, _ in triples], np.int8),
        ids=np.array([identifier for _, _, identifier, _ in triples], np.int32),
        values=np.array([value for _, _, _, value in triples], np.float32),
    )
