"""Names and codes stay as they are written, in schemas, folders and on the command line."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from mtlbench.cli import main
from mtlbench.cli.names import as_written
from mtlbench.data.store import Store, open_store
from mtlbench.datasets.parquet.description import PARTS
from mtlbench.experiment.schema_file import parse_schema
from shared_cases import case

FIELDS = ("101", "109_14", "off", "2024-01-01", "1e3", "0x1F", "007", "true")
"""Names that YAML 1.1 or Hydra reads as something else."""
ROWS = 300
SMALL = ["trainer.epochs=1", "trainer.batch_size=128", "run.threads=1", "tracker=none"]


def only_store(folder: Path) -> Store:
    (found,) = (folder / "store").glob("parquet/[!.]*")
    return open_store(found)


def write(folder: Path) -> list[str]:
    """Rows with fields and tasks of odd names, described without a quotation mark."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {name: random.integers(0, 5, ROWS) for name in FIELDS}
    columns |= {f"label {name}": random.integers(0, 2, ROWS) for name in "ab"}
    folder.mkdir(exist_ok=True)
    parquet.write_table(pa.table(columns), folder / "rows.parquet")
    fields = "\n".join(f"  - {{name: {name}}}" for name in FIELDS)
    tasks = "  - {name: 109_14, label: label a}\n  - {name: on, label: label b}"
    (folder / "mine.yaml").write_text(f"rows: {{train: rows.parquet}}\nfields:\n{fields}\ntasks:\n{tasks}\n")
    return ["dataset=parquet", f"dataset.raw={folder}", f"dataset.schema={folder / 'mine.yaml'}"]


def test_a_run_has_the_names_that_its_schema_and_command_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the schema and `dataset.tasks` through the run's folder, read again by `evaluate`."""
    words = [*write(tmp_path / "raw"), f"run.data={tmp_path / 'data'}", f"run.folder={tmp_path / 'runs'}"]
    crosses = ["model=widedeep", "model.network.crosses=[[101,109_14],[off,007]]"]
    assert main(["train", *crosses, "dataset.tasks=[109_14,on]", *words, *SMALL]) == 0
    store = only_store(tmp_path / "data")
    assert [task.name for task in store.schema.tasks] == ["109_14", "on"]
    assert {field.name for field in store.schema.fields} == set(FIELDS)
    (folder,) = (path.parent for path in tmp_path.glob("runs/*/result.json"))
    result = json.loads((folder / "result.json").read_text())
    assert {"109_14", "on"} <= {part for key in result["metrics"] for part in key.split("/")}
    kept = yaml.safe_load((folder / "config.yaml").read_text())
    assert kept["dataset"]["tasks"] == ["109_14", "on"]
    assert [field["name"] for field in kept["dataset"]["schema"]["fields"]] == list(FIELDS)
    assert kept["model"]["network"]["crosses"] == [["101", "109_14"], ["off", "007"]]
    capsys.readouterr()
    assert main(["evaluate", folder.name, f"run.folder={tmp_path / 'runs'}"]) == 0
    said = capsys.readouterr().out
    assert "109_14" in said
    assert "10914" not in said


def test_the_case_of_names_that_yaml_reads_as_numbers(tmp_path: Path) -> None:
    words = [*case("names_that_yaml_reads_as_numbers"), "dataset.split_rule=halve_test", f"run.data={tmp_path}"]
    assert main(["prepare", *words]) == 0
    names = {field.name for field in only_store(tmp_path).schema.fields}
    assert {"101", "109_14", "110_14", "127_14", "150_14"} < names
    assert "10914" not in names


def test_a_schema_is_text_but_for_widths_compression_and_nothing() -> None:
    content = parse_schema(
        "a: {name: 1_0, width: 3, b: null, c: yes, d: 2024-01-01, e: '7', compress: true}\n"
        "101: {width: 012, compress: 'true'}\n102: {name: true, compress: false}"
    )
    assert content == {
        "a": {"name": "1_0", "width": 3, "b": None, "c": "yes", "d": "2024-01-01", "e": "7", "compress": True},
        "101": {"width": "012", "compress": "true"},
        "102": {"name": "true", "compress": False},
    }


def test_every_key_that_is_no_text_can_be_written_in_a_schema_file() -> None:
    """A key of another type is one that the reader of schema files must know."""
    written = {int: ("7", 7), bool: ("true", True)}
    found = [(key.name, written[key.type]) for kind in PARTS.values() for key in fields(kind) if key.type in written]
    assert len(found) == 2
    for key, (text, value) in found:
        assert parse_schema(f"{{{key}: {text}}}") == {key: value}


def test_a_schema_file_compresses_a_number(tmp_path: Path) -> None:
    words = write(tmp_path / "raw")
    path = tmp_path / "raw" / "mine.yaml"
    path.write_text(path.read_text().replace("{name: 1e3}", "{name: 1e3, kind: number, compress: true}"))
    assert main(["prepare", *words, f"run.data={tmp_path / 'data'}"]) == 0
    assert [field.name for field in only_store(tmp_path / "data").schema.fields if field.compress] == ["1e3"]


def test_a_key_that_stands_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = write(tmp_path)
    with (tmp_path / "mine.yaml").open("a") as file:
        file.write("fields: [{name: other}]\n")
    assert main(["prepare", *words, f"run.data={tmp_path / 'data'}"]) == 2
    assert "'fields' is given twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("dataset.tasks=[109_14, on,'x']", "dataset.tasks=['109_14', on,'x']"),
        ("dataset.tasks=[a],[1e3]", "dataset.tasks=[a],['1e3']"),
        ("dataset.tasks=choice([1],[2])", "dataset.tasks=choice(['1'],['2'])"),
        ("dataset.tasks=null", "dataset.tasks=null"),
        ("dataset.tasks=${x.y}", "dataset.tasks=${x.y}"),
        ("trainer.batch_size=1_000", "trainer.batch_size=1_000"),
        ("--help", "--help"),
    ],
)
def test_names_on_the_command_line(word: str, quoted: str) -> None:
    assert as_written([word]) == [quoted]


def partitioned(folder: Path, name: str, values: tuple[str, ...], schema: str) -> list[str]:
    """A file of rows in a folder for each value."""
    random = np.random.default_rng(0)
    for value in values:
        path = folder / "rows" / f"{name}={value}"
        path.mkdir(parents=True)
        columns = {"item": random.integers(0, 5, 60), "click": random.integers(0, 2, 60)}
        parquet.write_table(pa.table(columns), path / "a.parquet")
    task = "tasks: [{name: click, label: click}]"
    (folder / "mine.yaml").write_text(f"rows: {{train: rows/**/*.parquet}}\n{task}\n{schema}\n")
    return ["dataset=parquet", f"dataset.raw={folder}", f"dataset.schema={folder / 'mine.yaml'}"]


def test_the_case_of_codes_with_leading_zeros(tmp_path: Path) -> None:
    assert main(["prepare", *case("hive_leading_zeros"), f"run.data={tmp_path}"]) == 0
    values = only_store(tmp_path).vocabulary("code").values
    assert sorted(values.to_pylist()) == ["01", "02", "1", "3"]


@pytest.mark.parametrize(
    ("values", "known"),
    [
        (("7", "-3", "0"), [-3, 0, 7]),
        (("7", "08"), ["08", "7"]),
        (("-0", "0"), ["-0", "0"]),
        (("00", "0"), ["0", "00"]),
        (("1", "99999999999999999999"), ["1", "99999999999999999999"]),
    ],
)
def test_an_id_in_a_folder_name_is_a_number_if_it_reads_back(
    tmp_path: Path, values: tuple[str, ...], known: list[Any]
) -> None:
    words = partitioned(tmp_path, "code", values, "fields: [{name: code}, {name: item}]")
    assert main(["prepare", *words, f"run.data={tmp_path / 'data'}"]) == 0
    assert sorted(only_store(tmp_path / "data").vocabulary("code").values.to_pylist()) == known


@pytest.mark.parametrize(("months", "status"), [(("08", "09", "10"), 0), (("8", "08", "09", "10"), 2)])
def test_a_time_may_be_written_with_zeros_in_front(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], months: tuple[str, ...], status: int
) -> None:
    """Two texts of one number are not merged in silence."""
    words = partitioned(tmp_path, "month", months, "fields: [{name: item}]\ntime: month")
    words += ["dataset.split_rule=by_time", f"run.data={tmp_path / 'data'}"]
    assert main(["prepare", *words]) == status
    if status:
        assert "column 'month' is of type string; 'time' must be whole numbers or dates" in capsys.readouterr().err
