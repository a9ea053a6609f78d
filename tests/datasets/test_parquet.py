"""Parquet folders: every value back from every layout, every refusal with its place, one identity wherever they lie."""

import json
import math
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from decoded import decoded
from mtlbench.cli import main
from mtlbench.cli.compose import compose
from mtlbench.data.split import at_random, by_group, by_time, halve_test
from mtlbench.data.store import SPLITS, Store, open_store
from mtlbench.datasets.parquet import dataset as module
from mtlbench.datasets.parquet.dataset import ParquetFolder
from mtlbench.experiment.data import resolve_data
from mtlbench.ingest.parse import cut_file
from mtlbench.ingest.prepare import Provenance, prepare
from mtlbench.ingest.protocol import LINE, ROWS, Block, RawError
from mtlbench.ingest.splits import SplitRule

EXAMPLE_COMMAND = (
    "train model=mmoe dataset=parquet dataset.raw=mine dataset.schema=mine.yaml dataset.split_rule=by_time"
)
DOCS = Path(__file__).parents[2] / "docs" / "datasets.md"


def of_docs(language: str) -> str:
    """The one block of code in a language of the page on data sets."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    return block


DESCRIPTION: dict[str, Any] = {
    "rows": {"train": "rows/**/*.parquet"},
    "tables": {"item": {"files": "items/*.parquet", "key": "id", "pointer": "item_key"}},
    "fields": [
        {"name": "country"},
        {"name": "city", "column": "City name"},
        {"name": "seen", "width": 4, "vocabulary": "thing", "role": "history"},
        {"name": "tags", "width": 3, "weights": "tag weights"},
        {"name": "price", "kind": "number"},
        {"name": "vector", "kind": "number", "width": 3},
        {"name": "thing", "table": "item", "role": "item"},
        {"name": "size", "kind": "number", "table": "item"},
    ],
    "tasks": [{"name": "click", "label": "clicked"}, {"name": "buy", "label": "bought", "given": "click"}],
    "group": "user",
    "source": "market",
    "time": "day",
}
ITEMS = pd.DataFrame({"id": range(100, 130), "thing": range(30), "size": np.arange(30) / 8})


def table_of(count: int, seed: int = 0) -> pa.Table:
    """Rows of every kind of column, with missing values where they are welcome."""
    draw = random.Random(seed)

    def some(value: Any, share: float = 0.8) -> Any:
        return value if draw.random() < share else None

    rows = []
    for number in range(count):
        tags = [f"tag {draw.randrange(9)}" for _ in range(draw.randrange(4))]
        rows.append(
            {
                "country": some(draw.choice((31, 33, 34))),
                "City name": some(draw.choice(("Delft", "Sevilla", "Orl\u00e9ans"))),
                "seen": some([draw.randrange(30) for _ in range(draw.randrange(4))]),
                "tags": tags,
                "tag weights": [draw.randrange(1, 9) / 8 for _ in tags],
                "price": some(draw.randrange(64) / 8),
                "vector": some([some(draw.randrange(8) / 8) for _ in range(3)]),
                "item_key": draw.randrange(100, 130),
                "clicked": number % 2,
                "bought": number % 4 == 1,
                "user": draw.randrange(40),
                "market": draw.choice((7, 70)),
                "day": 1 + number * 10 // count,
            }
        )
    return pa.Table.from_pylist(rows)


def described(**changes: Any) -> ParquetFolder:
    return ParquetFolder(description={**DESCRIPTION, **changes})


def write(folder: Path, rows: pa.Table, name: str = "rows/part-0.parquet", items: pd.DataFrame = ITEMS) -> Path:
    for path in (folder / name, folder / "items" / "items.parquet"):
        path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(rows, folder / name)
    items.to_parquet(folder / "items" / "items.parquet")
    return folder


EVERY_DAY = partial(by_time, valid=1, test=1)


def prepared(
    folder: Path,
    store: Path,
    dataset: ParquetFolder | None = None,
    split: SplitRule = EVERY_DAY,
    on_error: Literal["fail", "quarantine"] = "fail",
    processes: int = 1,
) -> Store:
    placed = (dataset or described()).in_folder(folder)
    return prepare(
        placed,
        folder,
        store,
        split=split,
        on_error=on_error,
        processes=processes,
        provenance=Provenance(origin="real"),
        one_class="note",
    )


def comparable(value: Any) -> Any:
    """A value of the store, or one that was written, in one form: numbers rounded, and no negative zero."""
    if isinstance(value, dict):
        return {name: comparable(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [comparable(entry) for entry in value]
    return round(value, 4) + 0.0 if isinstance(value, float) else value


def planted(rows: pa.Table, store: Store) -> list[dict[str, Any]]:
    """What the rows must be in the store: joined, missing numbers as the mean, values that training lacks as None."""
    items = {row["id"]: row for row in ITEMS.to_dict("records")}
    fields = store.manifest["fields"]
    known = {name: set(store.vocabulary(name).values.to_pylist()) for name in ("country", "city", "thing", "tags")}
    expected = []
    for row in rows.to_pylist():
        vector = row["vector"] or [None] * 3
        means = fields["vector"]["mean"]
        item = items[row["item_key"]]
        expected.append(
            {
                "country": row["country"] if row["country"] in known["country"] else None,
                "city": row["City name"] if row["City name"] in known["city"] else None,
                "seen": [value if value in known["thing"] else None for value in row["seen"] or []],
                "tags": [value if value in known["tags"] else None for value in row["tags"]],
                "tags:weight": row["tag weights"],
                "price": fields["price"]["mean"][0] if row["price"] is None else row["price"],
                "vector": [mean if value is None else value for value, mean in zip(vector, means, strict=True)],
                "thing": item["thing"] if item["thing"] in known["thing"] else None,
                "size": item["size"],
                "clicked": int(row["clicked"]),
                "bought": int(row["bought"]),
                "group": row["user"],
                "source": {7: 0, 70: 1}[row["market"]],
                "time": row["day"],
            }
        )
    return expected


def assert_every_value_is_back(store: Store, rows: pa.Table) -> None:
    found = [comparable(row) for split in SPLITS for row in decoded(store, split)]
    expected = [comparable(row) for row in planted(rows, store)]
    assert len(found) == len(expected)
    key = partial(json.dumps, sort_keys=True, default=str)
    assert sorted(map(key, found)) == sorted(map(key, expected))


def as_one_file(folder: Path, rows: pa.Table) -> None:
    write(folder, rows)


def as_pandas_partitions(folder: Path, rows: pa.Table) -> None:
    write(folder, rows.slice(0, 0), "elsewhere/none.parquet")
    rows.to_pandas(types_mapper=pd.ArrowDtype).to_parquet(folder / "rows", partition_cols=["day"], index=False)


def as_spark(folder: Path, rows: pa.Table) -> None:
    """Partition folders, several files in each, all of one name across folders, and what is not data beside them."""
    write(folder, rows.slice(0, 0), "elsewhere/none.parquet")
    for day in range(1, 11):
        own = rows.filter(pa.compute.equal(rows["day"], day)).drop_columns(["day"])
        target = folder / "rows" / f"day={day}"
        target.mkdir(parents=True)
        for part, start in enumerate(range(0, len(own), 7)):
            name = f"part-{part:05}-5a2b.c000.snappy.parquet"
            parquet.write_table(own.slice(start, 7), target / name, store_schema=False, compression="snappy")
            (target / f".{name}.crc").write_bytes(b"crc")
        parquet.write_table(own.slice(0, 0), target / "part-99999-5a2b.c000.snappy.parquet")
        unfinished = folder / "rows" / "_temporary" / "0" / "part-0.parquet"
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(own, unfinished)
    (folder / "rows" / "_SUCCESS").touch()


def as_duckdb(folder: Path, rows: pa.Table) -> None:
    """One file of several small row groups per thread, without Arrow's own schema, dictionary-encoded throughout."""
    write(folder, rows.slice(0, 0), "elsewhere/none.parquet")
    (folder / "rows").mkdir()
    half = len(rows) // 2
    for thread, part in enumerate((rows.slice(0, half), rows.slice(half))):
        parquet.write_table(part, folder / "rows" / f"data_{thread}.parquet", row_group_size=16, store_schema=False)


def as_dictionaries(folder: Path, rows: pa.Table) -> None:
    """Large strings, large lists, lists of fixed size, small integers, categories: what Polars and Ray Data write."""
    changed = {
        "country": rows["country"].cast(pa.uint16()),
        "City name": rows["City name"].cast(pa.large_string()).dictionary_encode(),
        "seen": rows["seen"].cast(pa.large_list(pa.int32())),
        "tags": rows["tags"].cast(pa.list_(pa.large_string())),
        "tag weights": rows["tag weights"].cast(pa.list_(pa.float32())),
        "price": rows["price"].cast(pa.float32()),
        # Arrow writes a null list of fixed size, and cannot read it again.
        "vector": pa.array([vector or [None] * 3 for vector in rows["vector"].to_pylist()], pa.list_(pa.float32(), 3)),
        "clicked": rows["clicked"].cast(pa.float64()),
        "day": rows["day"].cast(pa.uint8()),
    }
    write(folder, pa.table({name: changed.get(name, rows[name]) for name in rows.column_names}))


LAYOUTS = (as_one_file, as_pandas_partitions, as_spark, as_duckdb, as_dictionaries)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_every_value_comes_back_from_every_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Callable[[Path, pa.Table], None]
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 10)
    rows = table_of(120)
    layout(tmp_path / "raw", rows)
    store = prepared(tmp_path / "raw", tmp_path / "store")
    assert_every_value_is_back(store, rows)
    assert store.origin == "real"
    assert [split["rows"] for split in store.manifest["splits"].values()] == [96, 12, 12]
    assert (store.schema.group, store.schema.source, store.schema.time) == (True, 2, True)
    assert sum(facts["lines"] for facts in store.manifest["raw"].values()) == 120 + len(ITEMS)


def test_files_of_one_name_keep_their_own_numbers(tmp_path: Path) -> None:
    """In two folders ``part-0.parquet``, each with a bad row: each is named with its folder and its own row number."""
    rows = table_of(40).to_pylist()
    rows[3]["clicked"], rows[25]["price"] = 2, math.inf
    for day, part in ((1, rows[:20]), (2, rows[20:])):
        write(tmp_path / "raw", pa.Table.from_pylist(part), f"rows/day={day}/part-0.parquet")
    store = prepared(tmp_path / "raw", tmp_path / "store", on_error="quarantine")
    lines = [json.loads(line) for line in (store.folder / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["file"], line["line"], line["reason"]) for line in lines] == [
        ("rows/day=1/part-0.parquet", 4, "label 'clicked' is neither 0 nor 1"),
        ("rows/day=2/part-0.parquet", 6, "column 'price' is not finite"),
    ]
    assert json.loads(lines[0]["text"])["clicked"] == 2
    assert {name: facts["rejected"] for name, facts in store.manifest["raw"].items()} == {
        "rows/day=1/part-0.parquet": 1,
        "rows/day=2/part-0.parquet": 1,
        "items/items.parquet": 0,
    }
    with pytest.raises(RawError, match=r"day=1/part-0\.parquet, line 4: label 'clicked' is neither 0 nor 1.*reads"):
        prepared(tmp_path / "raw", tmp_path / "other")


@pytest.mark.long
def test_several_processes_write_the_same_store(tmp_path: Path) -> None:
    as_spark(tmp_path / "raw", table_of(120))
    stores = [prepared(tmp_path / "raw", tmp_path / str(n), processes=n) for n in (1, 2)]
    assert stores[0].manifest["files"] == stores[1].manifest["files"]


def read(folder: Path, dataset: ParquetFolder | None = None, table: str = ROWS) -> list[Block]:
    placed = (dataset or described()).in_folder(folder)
    return [
        block
        for file in placed.files
        if file.table == table
        for shard in cut_file(folder / file.name, file)
        for block in placed.read(shard)
    ]


def test_a_large_row_group_is_read_in_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, table_of(1000))
    monkeypatch.setattr(module, "BATCH_ROWS", 64)
    blocks = read(tmp_path)
    assert max(block.lines for block in blocks) == 64
    assert [line for block in blocks for line in block.columns[LINE].to_pylist()] == list(range(1000))


def test_memory_does_not_grow_with_the_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, draw = 300_000, np.random.default_rng(0)
    table = pa.table({name: draw.random(count) for name in "abcd"} | {"click": np.arange(count) % 2})
    small_pages = {"data_page_size": 1 << 15, "use_dictionary": False}
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=count, **small_pages)
    del table
    monkeypatch.setattr(module, "BUFFER_BYTES", 1 << 16)
    fields = [{"name": name, "kind": "number"} for name in "abcd"]
    description = {"rows": {"train": "*"}, "fields": fields, "tasks": [{"name": "click", "label": "click"}]}
    dataset = ParquetFolder(description=description).in_folder(tmp_path)
    (shard,) = cut_file(tmp_path / "rows.parquet", dataset.files[0])
    before, most = pa.total_allocated_bytes(), 0
    for _ in dataset.read(shard):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < (tmp_path / "rows.parquet").stat().st_size / 3


ROW_PROBLEMS: list[tuple[str, Any, str]] = [
    ("clicked", 2, "label 'clicked' is neither 0 nor 1"),
    ("price", math.nan, "column 'price' is not finite"),
    ("price", -math.inf, "column 'price' is not finite"),
    ("vector", [0.5, 0.5], "column 'vector' does not have 3 entries"),
    ("vector", [], "column 'vector' does not have 3 entries"),
    ("vector", [0.5, math.nan, 0.5], "an entry of column 'vector' is not finite"),
    ("seen", [1, None], "an entry of column 'seen' is null"),
    ("tags", ["a", "b"], "column 'tag weights' does not have as many entries as there are ids"),
    ("tag weights", None, "column 'tag weights' does not have as many entries as there are ids"),
    ("tag weights", [-1.0], "an entry of column 'tag weights' is negative, not finite or above 1.13427e+38"),
    ("tag weights", [None], "an entry of column 'tag weights' is null"),
    ("tag weights", [1e39], "an entry of column 'tag weights' is negative, not finite or above 1.13427e+38"),
    ("user", None, "column 'user' is null"),
    ("day", None, "column 'day' is null"),
    ("item_key", None, "column 'item_key' is null"),
]


@pytest.mark.parametrize(("column", "value", "reason"), ROW_PROBLEMS)
def test_a_bad_row_is_refused_and_the_others_are_read(tmp_path: Path, column: str, value: Any, reason: str) -> None:
    rows = table_of(30)
    content = rows.to_pylist()
    content[11] |= {"tags": ["x"], "tag weights": [0.5]} | {column: value}
    if column == "clicked":
        rows = rows.set_column(rows.column_names.index("clicked"), "clicked", rows["clicked"].cast(pa.int64()))
    write(tmp_path, pa.Table.from_pylist(content, rows.schema))
    blocks = read(tmp_path)
    assert [(bad.line, bad.reason) for block in blocks for bad in block.rejected] == [(11, reason)]
    assert [line for block in blocks for line in block.columns[LINE].to_pylist()] == [n for n in range(30) if n != 11]


@pytest.mark.parametrize("kind", ["whole numbers", "text"])
def test_keys_that_are_absent_or_repeated_are_refused_with_their_rows(tmp_path: Path, kind: str) -> None:
    def key(number: int) -> Any:
        return number if kind == "whole numbers" else f"k{number}"

    rows = table_of(30).to_pylist()
    for row in rows:
        row["item_key"] = key(row["item_key"])
    rows[20]["item_key"] = key(999)
    items = pd.concat([ITEMS, ITEMS.iloc[[4]]], ignore_index=True)
    items["id"] = [key(number) for number in items["id"]]
    write(tmp_path / "raw", pa.Table.from_pylist(rows), items=items)
    store = prepared(tmp_path / "raw", tmp_path / "store", on_error="quarantine")
    lines = [json.loads(line) for line in (store.folder / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["file"], line["line"], line["reason"]) for line in lines] == [
        ("items/items.parquet", 31, "an earlier line has the same key"),
        ("rows/part-0.parquet", 21, "its key is not in table 'item'"),
    ]
    assert json.loads(lines[0]["text"]) == {"id": key(104), "thing": 4, "size": 0.5}
    assert json.loads(lines[1]["text"])["item_key"] == key(999)
    assert sum(len(decoded(store, split)) for split in SPLITS) == 29


def without(rows: pa.Table, name: str) -> pa.Table:
    return rows.drop_columns([name])


def swapped(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


FILE_PROBLEMS: list[tuple[Callable[[pa.Table], pa.Table], str]] = [
    (lambda t: without(t, "price"), "column 'price' is missing; there are: country, City name"),
    (lambda t: without(t, "tag weights"), "column 'tag weights' is missing"),
    (lambda t: without(t, "item_key"), "column 'item_key' is missing"),
    (lambda t: without(t, "bought"), "column 'bought' is missing"),
    (
        lambda t: swapped(t, "country", t["country"].cast(pa.float64())),
        r"column 'country' is of type double; 'country' must be whole numbers or text. \(pandas makes decimal",
    ),
    (
        lambda t: swapped(t, "price", t["price"].cast(pa.string())),
        "'price' is of type string; 'price' must be whole numbers or decimal numbers",
    ),
    (lambda t: swapped(t, "seen", t["country"]), "'seen' is of type int64; 'seen' must be lists of whole numbers or"),
    (
        lambda t: swapped(t, "country", t["seen"]),
        r"'country' is of type list<.*>; 'country' must be whole.*above 1\)",
    ),
    (lambda t: swapped(t, "clicked", t["City name"]), "'clicked' must be whole numbers or decimal numbers"),
    (
        lambda t: swapped(t, "user", t["City name"]),
        r"'user' is of type string; 'group' must be whole numbers. \(Text can be numbered.* rows\['user'\]\.factorize",
    ),
    (
        lambda t: swapped(t, "day", pa.array([pd.Timestamp("2026-01-01")] * len(t))),
        r"'day' is of type timestamp\[.*\]; 'time' must be whole numbers or dates. \(Round it",
    ),
    (
        lambda t: swapped(t, "seen", t["tags"]),
        "holds whole numbers, and .*column 'seen' text; they must be of one kind",
    ),
    (lambda t: swapped(t, "item_key", t["item_key"].cast(pa.string())), "must be of one kind"),
    (lambda t: swapped(t, "country", pa.array([{"a": 1}] * len(t))), "'country' is of type struct<a: int64>"),
    (lambda t: swapped(t, "City name", pa.array([b"x"] * len(t))), "'City name' is of type binary"),
    (lambda t: pa.table([*t.columns, t["price"]], [*t.column_names, "price"]), "column 'price' occurs twice"),
]


@pytest.mark.parametrize(("spoil", "reason"), FILE_PROBLEMS)
def test_a_file_that_cannot_be_meant_is_refused_by_name(
    tmp_path: Path, spoil: Callable[[pa.Table], pa.Table], reason: str
) -> None:
    write(tmp_path, spoil(table_of(30)))
    with pytest.raises(RawError, match=reason) as refused:
        described().in_folder(tmp_path)
    assert str(tmp_path / "rows" / "part-0.parquet") in str(refused.value)


def test_one_column_is_of_one_kind_in_all_files(tmp_path: Path) -> None:
    write(tmp_path, table_of(30))
    rows = table_of(30)
    write(tmp_path, swapped(rows, "country", rows["country"].cast(pa.string())), "rows/part-1.parquet")
    with pytest.raises(RawError, match=r"part-1\.parquet: column 'country' holds text, and .*part-0.* whole numbers"):
        described().in_folder(tmp_path)
    nothing = swapped(rows, "country", pa.nulls(30))
    write(tmp_path, nothing, "rows/part-1.parquet")  # pandas writes a column without any value so
    blocks = read(tmp_path)
    assert blocks[1].columns["country"].to_pylist() == [None] * 30
    assert len({block.columns.schema for block in blocks}) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-9],
        lambda b: b[: len(b) // 2],
        lambda b: b"PAR1" + b[40:],
        lambda b: b"a,b\n1,2\n",
        lambda b: b[5:],
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path, table_of(300)) / "rows" / "part-0.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RawError, match=r"rows/part-0\.parquet (is no Parquet file, or is damaged|cannot be read)"):
        read(tmp_path)


def test_folders_and_patterns_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(RawError, match=r"there is no folder .*nowhere\. dataset\.raw names the folder"):
        described().in_folder(tmp_path / "nowhere")
    write(tmp_path, table_of(30))
    with pytest.raises(RawError, match=r"rows\.train is 'lines/\*\.parquet', which no file in .* matches"):
        described(rows={"train": "lines/*.parquet"}).in_folder(tmp_path)
    with pytest.raises(RawError, match=r"rows\.train is '/rows/\*', an absolute path; write it relative to"):
        described(rows={"train": "/rows/*"}).in_folder(tmp_path)
    with pytest.raises(RawError, match=r"rows/part-0\.parquet matches the patterns of two parts or tables"):
        described(rows={"train": "rows/*", "test": "rows/part*"}).in_folder(tmp_path)


SCHEMA_PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"feilds": []}, r"feilds: there is no such key; did you mean 'fields'\?"),
    ({"fields": [{"name": "a", "widht": 3}]}, r"fields\.0\.widht: there is no such key; did you mean 'width'\?"),
    ({"fields": [{"kind": "id"}]}, r"fields\.0\.name is missing"),
    ({"fields": [{"name": "a", "width": "3"}]}, r"fields\.0\.width is '3': input should be a valid integer"),
    ({"fields": [{"name": "a", "kind": "text"}]}, r"fields\.0\.kind is 'text': input should be 'id' or 'number'"),
    ({"tables": {"item": {"files": "x", "key": "id"}}}, r"tables\.item\.pointer is missing"),
    ({"tables": {}}, "field 'thing': there is no table 'item'; tables: none"),
    ({"fields": [{"name": "a"}]}, "table 'item' has no fields; take it out"),
    ({"fields": [{"name": "time"}]}, "field 'time': key, line, group, source, time, rows are taken"),
    ({"fields": [{"name": "a/b"}]}, r"field 'a/b': names are letters, digits, .*set column: to the name in the file"),
    ({"fields": [{"name": "a", "column": "clicked"}]}, "field 'a' reads the label 'clicked'"),
    ({"fields": [{"name": "a", "weights": "w"}], "tables": {}}, "the weight of a single value cancels"),
    ({"fields": [{"name": "a", "width": 2, "target": "b"}], "tables": {}}, "has the target 'b', which is no id field"),
    ({"tasks": [{"name": "buy", "label": "bought", "given": "click"}]}, "'buy' is given 'click', which is not a task"),
    ({"tasks": []}, "a schema needs at least one task"),
    ({"rows": "rows/*"}, r"rows is 'rows/\*'"),
]


@pytest.mark.parametrize(("changes", "reason"), SCHEMA_PROBLEMS)
def test_a_schema_that_cannot_be_meant_is_refused_by_key(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        assert described(**changes).tasks
    assert str(refused.value).startswith("dataset.schema: ")


def test_without_a_schema_there_is_nothing_to_read() -> None:
    with pytest.raises(ValueError, match=r"dataset\.schema is null; name the YAML file"):
        assert ParquetFolder().fields


class TestSplits:
    @pytest.mark.parametrize(
        ("split", "sizes"),
        [
            (partial(by_time, valid=2, test=3), (60, 24, 36)),
            (partial(by_group, valid=0.2, test=0.2, seed=1), None),
            (partial(at_random, valid=0.2, test=0.2, seed=1), None),
        ],
    )
    def test_without_a_test_part(self, tmp_path: Path, split: SplitRule, sizes: tuple[int, ...] | None) -> None:
        rows = table_of(120)
        as_spark(tmp_path / "raw", rows)
        store = prepared(tmp_path / "raw", tmp_path / "store", split=split)
        assert_every_value_is_back(store, rows)
        found = tuple(split["rows"] for split in store.manifest["splits"].values())
        assert found == sizes if sizes else min(found) > 5
        if split.func is by_group:  # pyright: ignore[reportFunctionMemberAccess]
            assert set(store.manifest["overlaps"]["group"]["shared"].values()) == {0}

    def test_a_table_serves_the_test_part_too(self, tmp_path: Path) -> None:
        rows = table_of(120)
        write(tmp_path / "raw", rows.slice(0, 90), "train/part-0.parquet")
        write(tmp_path / "raw", rows.slice(90), "test/part-0.parquet")
        dataset = described(rows={"train": "train/*.parquet", "test": "test/*.parquet"})
        store = prepared(tmp_path / "raw", tmp_path / "store", dataset, partial(halve_test, seed=0))
        assert [split["rows"] for split in store.manifest["splits"].values()] == [90, 15, 15]
        assert_every_value_is_back(store, rows)
        assert store.manifest["tables"] == {"item": 30}


def test_dates_are_days_and_folders_may_name_them(tmp_path: Path) -> None:
    rows = table_of(40)
    days = [date(2026, 10, 31) + timedelta(days=int(day)) for day in rows["day"].to_pylist()]
    write(tmp_path / "a", swapped(rows, "day", pa.array(days, pa.date32())))
    for day in sorted(set(days)):
        own = rows.filter(pa.array([other == day for other in days])).drop_columns(["day"])
        write(tmp_path / "b", own, f"rows/day={day}/part-0.parquet")
    stores = [prepared(tmp_path / name, tmp_path / f"store {name}") for name in "ab"]
    assert [row["time"] for row in decoded(stores[0], "test")] == [(days[-1] - date(1970, 1, 1)).days] * 4
    assert stores[0].manifest["files"] == stores[1].manifest["files"]


def test_values_in_folder_names_are_unquoted_typed_together_and_may_be_missing(tmp_path: Path) -> None:
    rows = table_of(40).drop_columns(["City name", "country"])
    names = [("Den%20Haag", "7"), ("a%3Db", "x"), ("__HIVE_DEFAULT_PARTITION__", "08")]
    for city, country in names:
        write(tmp_path, rows, f"rows/City%20name={city}/country={country}/part-0.parquet")
    blocks = {block.columns["country"][0].as_py(): block.columns["city"][0].as_py() for block in read(tmp_path)}
    assert blocks == {"7": "Den Haag", "x": "a=b", "08": None}, "'08' is text where 'x' is"


class TestIdentity:
    def located(self, folder: Path, schema: Path | dict[str, Any], data: Path):
        config = compose(["dataset=parquet", f"dataset.raw={folder}", "dataset.split_rule=by_time"])
        config.dataset.schema = str(schema) if isinstance(schema, Path) else schema
        return resolve_data(config.dataset, data), config

    def test_it_does_not_depend_on_where_files_and_schema_lie(self, tmp_path: Path) -> None:
        schema = tmp_path / "schema.yaml"
        schema.write_text(yaml.safe_dump(DESCRIPTION))
        as_spark(tmp_path / "one", table_of(120))
        shutil.copytree(tmp_path / "one", tmp_path / "two" / "deep")
        moved = tmp_path / "two" / "schema.yaml"
        moved.write_text("# with a comment\n" + schema.read_text())
        one, config = self.located(tmp_path / "one", schema, tmp_path / "data")
        two, _ = self.located(tmp_path / "two" / "deep", moved, tmp_path / "data")
        assert one.fingerprint == two.fingerprint
        assert str(tmp_path) not in json.dumps(one.identity)
        assert len(one.identity["raw"]) == len(one.reader.files) == 31
        # What a run's folder keeps means the same data, though the schema's file is gone.
        schema.unlink()
        kept, _ = self.located(tmp_path / "one", config.dataset.schema, tmp_path / "data")
        assert kept.fingerprint == one.fingerprint

    def test_it_depends_on_what_files_and_schema_say(self, tmp_path: Path) -> None:
        write(tmp_path / "raw", table_of(120))
        first, _ = self.located(tmp_path / "raw", DESCRIPTION, tmp_path / "data")
        other = {**DESCRIPTION, "fields": DESCRIPTION["fields"][1:]}
        assert self.located(tmp_path / "raw", other, tmp_path / "data")[0].fingerprint != first.fingerprint
        write(tmp_path / "raw", table_of(120, seed=1))
        assert self.located(tmp_path / "raw", DESCRIPTION, tmp_path / "data")[0].fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset.source=simulated"], "data set 'parquet' has no simulator"),
        (["dataset.raw=."], "dataset.schema is null"),
        (["dataset.raw=.", "dataset.schema=no.yaml"], "dataset.schema=no.yaml: no such file"),
        (["dataset.raw=.", "dataset.schema=list.yaml"], "it holds list; expected a mapping"),
        (["dataset.raw=.", "dataset.schema=bad.yaml"], "dataset.schema=bad.yaml: not valid YAML"),
        (["dataset.raw=nowhere", "dataset.schema=good.yaml"], "there is no folder nowhere"),
    ],
)
def test_the_command_line_explains(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("list", "[1, 2]"), ("bad", "a: [1"), ("good", yaml.safe_dump(DESCRIPTION))):
        Path(f"{name}.yaml").write_text(text)
    assert main(["prepare", "dataset=parquet", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_worked_example_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(of_docs("python"), DOCS.name, "exec"), {})
    Path("mine.yaml").write_text(of_docs("yaml"))
    assert EXAMPLE_COMMAND in DOCS.read_text()
    assert main(["prepare", *EXAMPLE_COMMAND.split()[2:]]) == 0
    assert "rows/day=1/" in capsys.readouterr().out
    (store,) = map(open_store, Path("data/store/parquet").glob("[!.]*"))
    rows, users = pd.read_parquet("mine/rows"), pd.read_parquet("mine/users").set_index("user")
    found = [row for split in SPLITS for row in decoded(store, split)]
    assert Counter(row["time"] for row in found) == Counter(int(day) for day in rows["day"])
    assert sum(row["bought"] for row in found) == rows["bought"].sum()
    assert all(row["age"] == pytest.approx(users["age"][row["group"]], abs=1e-4) for row in found[::50])


def reference(row: dict[str, Any]) -> bool:
    """Whether a row may be used, in plain Python."""
    weights, tags = row["tag weights"], row["tags"] or []
    entries = [value for name in ("seen", "tags") for value in row[name] or []]
    numbers = [row["price"], *(row["vector"] or [])]
    return (
        all(row[name] in (None, 0, 1) for name in ("clicked", "bought"))
        and all(row[name] is not None for name in ("user", "market", "day", "item_key"))
        and None not in entries
        and all(number is None or math.isfinite(number) for number in numbers)
        and (row["vector"] is None or len(row["vector"]) == 3)
        and len(weights or []) == len(tags)
        and all(weight is not None and 0 <= weight < 3.4028235677973366e38 for weight in weights or [])
    )


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.long)])
def test_whatever_stands_in_the_rows_the_good_ones_are_read_and_the_others_refused(tmp_path: Path, count: int) -> None:
    draw = random.Random(count)
    odd: dict[str, tuple[Any, ...]] = {
        "country": (None, 0, -5, 2**63 - 1),
        "City name": (None, "", "\x00", "a\nb", "\U0001f600" * 50),
        "seen": (None, [], [None], [1, None], [3] * 40),
        "tags": (None, [], [None], ["", ""], ["x"]),
        "tag weights": (None, [], [None], [0.0], [-0.0], [-1e-9], [math.nan], [math.inf], [1e39], [1.0, 2.0]),
        "price": (None, math.nan, math.inf, -math.inf, 1e308, -0.0),
        "vector": (None, [], [1.0], [None] * 3, [math.nan] * 3, [1e308, None, -1.0], [0.0] * 4),
        "clicked": (None, 2, -1, 256),
        "bought": (None, True),
        "user": (None, -1, 2**63 - 1),
        "market": (None, 7),
        "day": (None, -3),
        "item_key": (None, 5),
    }
    base = table_of(100)
    write(tmp_path, base)
    refused = 0
    for _ in range(count // 100):
        rows = base.to_pylist()
        for row in rows:
            for name in draw.sample(list(odd), draw.choice((1, 1, 2, 4))):
                row[name] = draw.choice(odd[name])
        parquet.write_table(pa.Table.from_pylist(rows, base.schema), tmp_path / "rows" / "part-0.parquet")
        blocks = read(tmp_path)
        good = [line for line, row in enumerate(rows) if reference(row)]
        found = [row for block in blocks for row in block.columns.to_pylist()]
        assert [row[LINE] for row in found] == good
        bad = [rejected for block in blocks for rejected in block.rejected]
        assert [rejected.line for rejected in bad] == [line for line in range(len(rows)) if line not in good]
        for row in found:
            planted_row = rows[row[LINE]]
            names = {"country": "country", "city": "City name", "vector": "vector", "price": "price", "time": "day"}
            assert all(row[ours] == planted_row[theirs] for ours, theirs in names.items()), row
            assert (row["clicked"], row["bought"]) == (planted_row["clicked"], planted_row["bought"])
            assert (row["seen"], row["tags"]) == (planted_row["seen"] or [], planted_row["tags"] or [])
            assert row["tags:weight"] == [np.float32(weight) for weight in planted_row["tag weights"] or []]
        refused += len(bad)
    assert count // 4 < refused < count * 9 // 10


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.long)])
def test_a_file_with_broken_bytes_never_ends_in_a_traceback(tmp_path: Path, count: int) -> None:
    """Bytes of data that are broken may still be data; whatever is not read is refused by name."""
    draw = random.Random(count)
    path = write(tmp_path, table_of(60)) / "rows" / "part-0.parquet"
    whole = path.read_bytes()
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        content = bytearray(whole)
        for _ in range(draw.randrange(1, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.choice((len(content), draw.randrange(len(content))))])
        if not path.stat().st_size:
            continue
        try:
            outcomes["read"] += sum(block.lines for block in read(tmp_path)) > 0
        except RawError as error:
            outcomes["refused"] += 1
            assert re.search(r"part-0\.parquet", str(error))  # noqa: PT017
    assert outcomes["refused"] > count // 4
