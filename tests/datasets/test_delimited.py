"""CSV and TSV files: the store of the same rows as Parquet, and every refusal with its file, line and column."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from decoded import decoded
from mtlbench.cli import main
from mtlbench.data.store import SPLITS, open_store
from mtlbench.datasets.parquet import delimited

ROWS = 300


def frames(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows and a dimension table of every kind of cell, some of them missing."""
    random = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "user": random.integers(0, 30, ROWS),
            "item": pd.array(random.integers(-5, 40, ROWS), "Int64"),
            "city": random.choice(["Delft", "Den Haag, NL", "", "Orl\u00e9ans", 'say "hi"'], ROWS),
            "zip": random.choice(["007", "7", "1000"], ROWS),
            "price": random.normal(size=ROWS),
            "clicked": random.integers(0, 2, ROWS).astype(bool),
            "seconds": random.normal(30, 9, ROWS),
            "day": [f"2024-01-{day:02}" for day in 1 + np.arange(ROWS) * 9 // ROWS],
        }
    )
    for name in ("item", "city", "price", "seconds"):
        rows[name] = rows[name].mask(random.random(ROWS) < 0.1)
    rows["bought"] = pd.array(rows.clicked * random.integers(0, 2, ROWS), "Int64")
    users = pd.DataFrame({"id": range(30), "age": random.normal(40, 9, 30)})
    return rows, users


SCHEMA = {
    "tables": {"user": {"files": "users.SUFFIX", "key": "id", "pointer": "user"}},
    "rows": {"train": "rows/*.SUFFIX"},
    "fields": [
        {"name": "item"},
        {"name": "city"},
        {"name": "zip"},
        {"name": "price", "kind": "number"},
        {"name": "age", "kind": "number", "table": "user"},
    ],
    "tasks": [
        {"name": "click", "label": "clicked"},
        {"name": "buy", "label": "bought", "given": "click"},
        {"name": "watch", "label": "seconds", "kind": "regression"},
    ],
    "group": "user",
    "time": "day",
}


def words_of(folder: Path, suffix: str, **changes: object) -> list[str]:
    text = yaml.safe_dump({**SCHEMA, **changes}).replace("SUFFIX", suffix)
    (folder / "mine.yaml").write_text(text)
    return [
        "dataset=parquet", f"dataset.raw={folder}/mine", f"dataset.schema={folder}/mine.yaml",
        "dataset.split_rule=by_time", f"run.data={folder}/data",
    ]  # fmt: skip


def write(folder: Path, suffix: str, delimiter: str | None = None) -> None:
    """The same rows as files of a kind, in two parts."""
    rows, users = frames()
    (folder / "mine" / "rows").mkdir(parents=True)
    between = delimiter or ("\t" if "tsv" in suffix else ",")
    parts = {"rows/a": rows[:100], "rows/b": rows[100:], "users": users}
    for name, part in parts.items():
        path = folder / "mine" / f"{name}.{suffix}"
        if suffix == "parquet":
            part.assign(**({"day": pd.to_datetime(part.day).dt.date} if "day" in part else {})).to_parquet(path)
        else:
            # An empty text stands in quotes, a missing one does not.
            text = part.to_csv(index=False, sep=between, quoting=2, na_rep="MISSING").replace('"MISSING"', "")
            data = text.encode()
            path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)


def contents(folder: Path, *words: str) -> dict:
    """All rows of the store, decoded, and what training rows decided."""
    assert main(["prepare", *words]) == 0
    (path,) = folder.glob("data/store/parquet/[!.]*")
    store = open_store(path)
    return {"schema": store.schema, **{split: decoded(store, split) for split in SPLITS}}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the store holds of the same rows as Parquet."""
    folder = tmp_path_factory.mktemp("parquet")
    write(folder, "parquet")
    return contents(folder, *words_of(folder, "parquet"))


@pytest.mark.parametrize(
    ("suffix", "delimiter"), [("csv", None), ("tsv", None), ("csv.gz", None), ("tsv.gz", None), ("csv", ";")]
)
@pytest.mark.parametrize("block", [1 << 20, 2000], ids=["one block", "many blocks"])
def test_the_store_is_that_of_the_same_rows_as_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict, suffix: str, delimiter: str | None, block: int
) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block)
    write(tmp_path, suffix, delimiter)
    changes = {} if delimiter is None else {"delimiter": delimiter}
    assert contents(tmp_path, *words_of(tmp_path, suffix, **changes)) == expected


def prepared_with(
    folder: Path, line: str, *more: str, name: str = "rows/b.csv", at: int = 50, **changes: object
) -> int:
    """Status of `prepare` with one line of a file (from 1) written otherwise."""
    write(folder, "csv")
    path = folder / "mine" / name
    lines = path.read_text().splitlines()
    lines[at - 1] = line
    path.write_text("\n".join(lines) + "\n")
    return main(["prepare", *words_of(folder, "csv", **changes), *more])


GOOD = '3,4,"Delft","007",0.5,False,1.5,"2024-01-05",0'
BAD = [
    (GOOD.replace("0.5", "half"), "column 'price' is not a number"),
    (GOOD.replace("0.5", "inf"), "column 'price' is not finite"),
    (GOOD.replace("3,4", "3,four"), "column 'item' is not a whole number"),
    (GOOD.replace("3,4", "3,04"), "column 'item' is not a whole number as in the lines before; if ids are text, set"),
    (
        GOOD.replace("3,4", "none,4"),
        "column 'user' is not a whole number, as a group must be. Text can be numbered in a new column, in pandas "
        "rows['number'] = rows['user'].factorize()[0]. The line reads",
    ),
    (GOOD.replace("3,4", ",4"), "column 'user' is null"),
    (GOOD.replace("False", "2"), "label 'clicked' is neither 0 nor 1"),
    (GOOD.replace("False", "maybe"), "column 'clicked' is not a number"),
    (GOOD.replace("2024-01-05", "2024-13-05"), "column 'day' is not a whole number or date"),
    (GOOD + ",1", "10 cells; the header names 9"),
    (GOOD.rpartition(",")[0], "8 cells; the header names 9"),
    ("", "no cell that is read has a value"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_a_line_that_cannot_be_used_is_refused_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1000)  # the line stands in a later one than the first
    assert prepared_with(tmp_path, line) != 0
    assert f"rows/b.csv, line 50: {message}" in capsys.readouterr().err


def test_lines_are_set_aside_and_the_others_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1000)
    assert prepared_with(tmp_path, "1,2,3", "dataset.on_error=quarantine", at=201) == 0
    (path,) = tmp_path.glob("data/store/parquet/[!.]*")
    manifest = open_store(path).manifest
    assert sum(split["rows"] for split in manifest["splits"].values()) == ROWS - 1
    (entry,) = map(json.loads, (path / "quarantine.jsonl").read_text().splitlines())
    assert entry == {
        "file": "rows/b.csv", "line": 201, "reason": "3 cells; the header names 9", "text": "1,2,3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "header", "message"),
    [
        ({"fields": [{"name": "colour"}]}, None, "column 'colour' is missing; there are: user, item, city"),
        (
            {"fields": [{"name": "seen", "column": "city", "width": 3}]},
            None,
            "'seen' must be lists of whole numbers or text. (For a list in a cell of a CSV or TSV file, set",
        ),
        (
            {"fields": [{"name": "city", "separator": "|"}]},
            None,
            "field 'city' has the separator '|' and width 1; allowed: one character or several, for a field of width",
        ),
        (
            {"fields": [{"name": "p", "column": "city", "kind": "number"}]},
            None,
            "rows/a.csv, line 2: column 'city' is no",
        ),
        (
            {"fields": [{"name": "price"}]},
            None,
            "column 'price' is of type double; 'price' must be whole numbers or text",
        ),
        ({}, "user,item,city,zip,price,clicked,seconds,day,day", "line 1: the header names column 'day' twice"),
        ({"delimiter": "::"}, None, "dataset.schema: delimiter is '::'; allowed: one ASCII character"),
        (
            {"fields": [{"name": "price", "kind": "number", "ids": "text"}]},
            None,
            "field 'price' is a number and has no ids: text",
        ),
    ],
)
def test_files_that_do_not_fit_the_schema_are_refused(
    tmp_path: Path, changes: dict, header: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"tables": {}, "fields": SCHEMA["fields"][:4], **changes}
    name = ",".join(frames()[0].columns)
    assert prepared_with(tmp_path, header or name, at=1, **changes) != 0
    assert message in capsys.readouterr().err


def test_ids_are_text_where_the_schema_says_so(tmp_path: Path) -> None:
    fields = [{"name": "item", "ids": "text"}]
    assert prepared_with(tmp_path, GOOD.replace("3,4", "3,04"), tables={}, fields=fields) == 0
    (path,) = tmp_path.glob("data/store/parquet/[!.]*")
    assert {"04", "-5"} <= set(open_store(path).vocabulary("item").values.to_pylist())


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "csv.gz")
    path = tmp_path / "mine" / "rows" / "b.csv.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    assert main(["prepare", *words_of(tmp_path, "csv.gz")]) != 0
    assert "b.csv.gz" in capsys.readouterr().err


LISTS = [
    {"name": "item"},
    {"name": "tags", "width": 2, "weights": "shares"},
    {"name": "seen", "width": 3, "vocabulary": "item", "role": "history", "target": "item"},
    {"name": "codes", "width": 3, "ids": "text"},
    {"name": "place", "kind": "number", "width": 2},
]


def lists() -> pd.DataFrame:
    """A row with lists of every kind; some are empty."""
    random = np.random.default_rng(1)
    several = [int(n) for n in random.integers(0, 4, ROWS)]
    return pd.DataFrame(
        {
            "item": random.integers(0, 20, ROWS),
            "tags": [random.choice(["a", "b c", "d,e", "\u00e9"], n).tolist() for n in several],
            "shares": [random.integers(1, 9, n).tolist() for n in several],
            "seen": [random.integers(0, 20, n).tolist() for n in reversed(several)],
            "codes": [random.integers(0, 9, n).tolist() for n in several],
            "place": [[round(float(x), 3), 1.0] for x in random.normal(size=ROWS)],
            "clicked": random.integers(0, 2, ROWS),
        }
    )


@pytest.mark.parametrize("separator", ["|", "::"])
def test_lists_in_cells_are_those_of_the_same_rows_as_parquet(tmp_path: Path, separator: str) -> None:
    rows, found = lists(), {}
    for suffix in ("parquet", "csv"):
        folder = tmp_path / suffix
        (folder / "mine").mkdir(parents=True)
        fields = [entry | ({"separator": separator} if suffix == "csv" and "width" in entry else {}) for entry in LISTS]
        if suffix == "csv":
            many = rows.columns[1:6]
            cells = rows.assign(**{name: [separator.join(map(str, each)) for each in rows[name]] for name in many})
            cells.to_csv(folder / "mine" / "rows.csv", index=False)
        else:
            rows.assign(codes=[[*map(str, each)] for each in rows.codes]).to_parquet(folder / "mine" / "rows.parquet")
        schema = {
            "rows": {"train": f"rows.{suffix}"},
            "fields": fields,
            "tasks": [{"name": "click", "label": "clicked"}],
        }
        (folder / "mine.yaml").write_text(yaml.safe_dump(schema))
        words = ["dataset=parquet", f"dataset.raw={folder}/mine", f"dataset.schema={folder}/mine.yaml"]
        found[suffix] = contents(folder, *words, f"run.data={folder}/data")
    np.testing.assert_equal(found["csv"], found["parquet"])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"seen": "3|x"}, "column 'seen' holds text, and"),
        ({"seen": "3||4"}, "line 302: an entry of column 'seen' is null"),
        ({"place": "0.5"}, "line 302: column 'place' does not have 2 entries"),
        ({"place": "0.5|far"}, "line 302: an entry of column 'place' is not a number"),
        ({"tags": "a|a", "shares": "1"}, "line 302: column 'shares' does not have as many entries as there are ids"),
    ],
)
def test_an_entry_of_a_cell_that_cannot_be_used_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cells: dict[str, str], message: str
) -> None:
    (tmp_path / "mine").mkdir()
    rows = lists()
    text = {name: ["|".join(map(str, each)) for each in rows[name]] for name in rows.columns[1:6]}
    last = rows.assign(**text)[-1:].assign(**cells)
    pd.concat([rows.assign(**text), last]).to_csv(tmp_path / "mine" / "rows.csv", index=False)
    fields = [entry | ({"separator": "|"} if "width" in entry else {}) for entry in LISTS]
    schema = {"rows": {"train": "rows.csv"}, "fields": fields, "tasks": [{"name": "click", "label": "clicked"}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(schema))
    words = ["dataset=parquet", f"dataset.raw={tmp_path}/mine", f"dataset.schema={tmp_path}/mine.yaml"]
    assert main(["prepare", *words, f"run.data={tmp_path}/data"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
