"""Rows in which a task is positive and the task that it is given is not: one policy for all data sets, and counted."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from mtlbench.cli import main
from mtlbench.cli.compose import compose
from mtlbench.data.store import Store, open_store
from mtlbench.experiment.build import build

SHARED = Path(__file__).parents[2].parent / "shared"
CASE = SHARED / "cases" / "contradicting_labels"
KUAIRAND = SHARED / "data" / "kuairand"
CONF = Path(__file__).parents[2] / "conf" / "dataset"
COUNT = 300
WRONG = (5, 6, 100)
"""Rows, from 0, that are bought and not clicked; and number 7 is rated and not bought."""

DESCRIPTION: dict[str, Any] = {
    "rows": {"train": "*.parquet"},
    "fields": [{"name": "user"}],
    "tasks": [
        {"name": "click", "label": "clicked"},
        {"name": "buy", "label": "bought", "given": "click"},
        {"name": "rate", "label": "rated", "given": "buy"},
    ],
}


@pytest.fixture
def mine(tmp_path: Path) -> list[str]:
    """The words that name a folder of rows, of which four contradict the order of tasks."""
    folder = tmp_path / "mine"
    folder.mkdir()
    labels = [(int(at % 2), int(at % 4 == 1), int(at % 8 == 1)) for at in range(COUNT)]
    for at in WRONG:
        labels[at] = (0, 1, 0)
    labels[7] = (1, 0, 1)
    clicked, bought, rated = (list(column) for column in zip(*labels, strict=True))
    rows = {"user": [at % 11 for at in range(COUNT)], "clicked": clicked, "bought": bought, "rated": rated}
    parquet.write_table(pa.table(rows), folder / "a.parquet")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(DESCRIPTION))
    return ["dataset=parquet", f"dataset.raw={folder}", f"dataset.schema={tmp_path / 'mine.yaml'}"]


def prepared(folder: Path, *words: str) -> Store:
    """The store that the user's command makes."""
    assert main(["prepare", f"run.data={folder}", *words]) == 0
    (store,) = folder.glob("store/*/[!.]*")
    return open_store(store)


def rows_of(store: Store) -> int:
    return sum(facts["rows"] for facts in store.manifest["splits"].values())


def test_they_are_refused_where_a_schema_declares_given(
    mine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", *mine, f"run.data={tmp_path / 'data'}"]) == 2
    message = capsys.readouterr().err
    assert "a.parquet, line 6: bought is 1 and clicked is 0, but task 'buy' has the parent 'click'" in message
    assert "set dataset.contradictions=drop to exclude such rows, or keep" in message
    assert re.search(r'reads .*"bought": 1', message)


def test_they_are_set_aside_with_other_lines_that_cannot_be_used(
    mine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepared(tmp_path / "data", *mine, "dataset.on_error=quarantine")
    assert "300 lines read, 4 rejected" in capsys.readouterr().out
    assert rows_of(store) == COUNT - 4
    entries = [json.loads(line) for line in (store.folder / "quarantine.jsonl").read_text().splitlines()]
    assert [entry["line"] for entry in entries] == [6, 7, 8, 101]
    assert [entry["reason"].split(":")[0] for entry in entries[1:3]] == [
        "bought is 1 and clicked is 0, but task 'buy' has the parent 'click'",
        "rated is 1 and bought is 0, but task 'rate' has the parent 'buy'",
    ]


def test_they_are_dropped_and_counted_when_that_is_asked_for(
    mine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepared(tmp_path / "data", *mine, "dataset.contradictions=drop")
    counted = "300 lines read, 0 rejected, 4 dropped (buy without click: 3, rate without buy: 1)"
    assert counted in capsys.readouterr().out
    assert rows_of(store) == COUNT - 4
    assert main(["show", *mine, "dataset.contradictions=drop", f"run.data={tmp_path / 'data'}"]) == 0
    assert counted in capsys.readouterr().out


def test_they_are_kept_and_counted_when_that_is_asked_for(
    mine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepared(tmp_path / "data", *mine, "dataset.contradictions=keep")
    counted = "0 rejected, 0 dropped, 4 contradictions kept (buy without click: 3, rate without buy: 1)"
    assert counted in capsys.readouterr().out
    assert rows_of(store) == COUNT
    assert main(["show", *mine, "dataset.contradictions=keep", f"run.data={tmp_path / 'data'}"]) == 0
    assert counted in capsys.readouterr().out


def test_another_word_is_refused(mine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", *mine, f"run.data={tmp_path}", "dataset.contradictions=mend"]) == 2
    assert "dataset.contradictions is 'mend'; allowed: drop, keep, fail" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_a_data_set_with_a_conditional_task_has_the_key(name: str) -> None:
    dataset = compose([f"dataset={name}"]).dataset
    assert dataset.get("contradictions", "fail") in ("fail", "drop")
    if name != "parquet" and any(task.given for task in build(dataset.reader, "dataset.reader").tasks):
        assert "contradictions" in dataset


@pytest.mark.parametrize(("policy", "told"), [(None, "dropped"), ("keep", "contradictions kept")])
def test_ali_ccp_drops_them_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str | None, told: str
) -> None:
    knobs = {"rows": 20_000, "test_rows": 5_000, "contradictions": 0.1, "rates": "demo"}
    words = ["dataset=aliccp", "dataset.source=simulated", "dataset.one_class=note"]
    words += [f"dataset.simulator.{knob}={value}" for knob, value in knobs.items()]
    words += [f"dataset.contradictions={policy}"] if policy else []
    store = prepared(tmp_path, *words)
    (count,) = re.findall(
        rf"skeleton_train.csv: 20,000 lines read, 0 rejected, .*?([\d,]+) {told} \(conversion without click: \1\)",
        capsys.readouterr().out,
    )
    found = int(count.replace(",", ""))
    assert 1_000 < found < 2_200
    facts = store.manifest["splits"]
    assert facts["train"]["rows"] + facts["valid"]["rows"] == 20_000 - (0 if policy else found)


def test_aliexpress_refuses_them_in_processed_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["search_id", *(f"categorical_{n}" for n in range(1, 17)), *(f"numerical_{n}" for n in range(1, 64))]
    lines = [",".join([*names, "click", "conversion"])]
    lines += [",".join([str(at), *["1"] * 79, *labels]) for at, labels in enumerate(("11", "00", "01", "10"))]
    for part in ("train", "test"):
        (tmp_path / f"{part}.csv").write_text("\n".join([*lines, ""]))
    words = ["dataset=aliexpress", "dataset.files=processed", f"dataset.raw={tmp_path}"]
    assert main(["prepare", *words, f"run.data={tmp_path / 'data'}"]) == 2
    assert "train.csv, line 4: conversion is 1 and click is 0" in capsys.readouterr().err


@pytest.mark.skipif(not CASE.is_dir(), reason=f"no rows in {CASE}")
def test_real_rows_that_passed_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CASE)
    words = ["dataset=parquet", "dataset.raw=mine", "dataset.schema=mine.yaml"]
    assert main(["prepare", *words, f"run.data={tmp_path}"]) == 2
    assert "long_view is 1 and is_click is 0" in capsys.readouterr().err
    store = prepared(tmp_path, *words, "dataset.contradictions=drop", "dataset.one_class=note")
    assert "5 dropped (long_view without click: 5)" in capsys.readouterr().out
    assert rows_of(store) == 190


@pytest.mark.skipif(not KUAIRAND.is_dir(), reason=f"no published rows in {KUAIRAND}")
def test_kuairand_drops_long_views_without_a_click_when_given_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["dataset=kuairand", f"dataset.raw={KUAIRAND}", "dataset.given={long_view: click}"]
    store = prepared(tmp_path, *words)
    assert "251 dropped (header: 1, long_view without click: 250)" in capsys.readouterr().out
    assert rows_of(store) == 228_329 - 250
    assert [task.given for task in store.schema.tasks] == [None, "click", None]
