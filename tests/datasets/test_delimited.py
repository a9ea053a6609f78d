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
    (GOOD.replace("0.5", "half"), "column 'price' is no number"),
    (GOOD.replace("0.5", "inf"), "column 'price' is not finite"),
    (GOOD.replace("3,4", "3,four"), "column 'item' is no whole number"),
    (GOOD.replace("3,4", "3,04"), "column 'item' is no whole number as in the lines before; where ids are text, say"),
    (GOOD.replace("3,4", "none,4"), "column 'user' is no whole number"),
    (GOOD.replace("3,4", ",4"), "column 'user' is null"),
    (GOOD.replace("False", "2"), "label 'clicked' is neither 0 nor 1"),
    (GOOD.replace("False", "maybe"), "column 'clicked' is no number"),
    (GOOD.replace("2024-01-05", "2024-13-05"), "column 'day' is no whole number or date"),
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
            "'seen' must be lists of whole numbers or text. (CSV and TSV files hold no lists: write these rows as",
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
        ({"delimiter": "::"}, None, "dataset.schema: delimiter is '::'; allowed: one character of ASCII"),
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
