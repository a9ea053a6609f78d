"""Results of runs: the same layout as ever on disk, and one type in memory."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtlbench.result import Metrics
from mtlbench.tracking.files import DamagedFileError
from mtlbench.tracking.folder import RESULT, content_hash, parse_result, read_result, write_result
from mtlbench.tracking.journal import JOURNAL
from runs import RESULT as MADE_UP

OF_0_2_0 = """{
  "identity": "16f871589f1f528c",
  "code": "0.2.0+d0e5a754f77e",
  "model": "cross_stitch",
  "dataset": "census",
  "origin": "real",
  "data": "16f3df194d986b11",
  "seed": 0,
  "metrics": {
    "test/income/rows": 49881.0,
    "test/income/auc": 0.9506156385189606,
    "test/never_married/auc": 0.9945438577984425,
    "test/weighted_uauc": 0.75
  },
  "undefined": {
    "test/never_married/gauc": "all 9 groups hold labels of one class only"
  },
  "epochs": 12,
  "steps": 2340,
  "best_step": {
    "model": 1950
  },
  "best_valid": {
    "model": 0.9715164099584475
  },
  "parameters": {
    "embedding": 8176,
    "dense": 176762
  },
  "rows_per_second": 22608.470896505325,
  "peak_memory_mb": 630.01953125,
  "finished": "2026-11-28T16:15:53+0000",
  "seconds": 117.66646463300003,
  "checkpoint": "run",
  "warnings": [],
  "journal": "%s",
  "sha256": "%s"
}
"""
"""As version 0.2.0 wrote it, but for the two hashes."""


def written_by_0_2_0(folder: Path) -> str:
    (folder / JOURNAL).write_bytes(b"")
    text = OF_0_2_0 % (hashlib.sha256(b"").hexdigest(), "")
    sealed = {key: value for key, value in json.loads(text).items() if key != "sha256"}
    return OF_0_2_0 % (hashlib.sha256(b"").hexdigest(), content_hash(sealed))


def test_a_file_of_0_2_0_is_read_and_written_again_to_the_byte(tmp_path: Path) -> None:
    text = written_by_0_2_0(tmp_path)
    result = parse_result(text.encode(), "it")
    write_result(tmp_path, result)
    assert (tmp_path / RESULT).read_text() == text
    assert read_result(tmp_path) == result


def test_metrics_are_found_by_split_task_and_name(tmp_path: Path) -> None:
    result = parse_result(written_by_0_2_0(tmp_path).encode(), "it")
    assert result.tasks == ["income", "never_married"]
    assert result.test.value("auc", "never_married") == 0.9945438577984425
    assert (result.test.value("weighted_uauc"), result.test.value("auc")) == (0.75, None)
    assert result.test.reason("gauc", "never_married") == "all 9 groups hold labels of one class only"
    assert result.test.of_task("income") == {"rows": 49881.0, "auc": 0.9506156385189606}
    assert result.test.names == ["rows", "auc", "weighted_uauc", "gauc"]
    assert result.split("valid") == Metrics()
    assert (result.parameters.embedding, result.parameters.dense) == (8176, 176762)
    assert result.seconds_to_best == pytest.approx(117.66646463300003 * 1950 / 2340)


def test_names_get_and_lose_their_split() -> None:
    metrics = Metrics(values={"a/auc": 0.5, "x": 1.0}, undefined={"a/gauc": "no groups"})
    named = metrics.prefixed("test")
    assert (named.values, named.undefined) == ({"test/a/auc": 0.5, "test/x": 1.0}, {"test/a/gauc": "no groups"})
    both = Metrics(values=named.values | {"testing/a/auc": 0.1, "valid/a/auc": 0.2}, undefined=named.undefined)
    assert both.of_split("test") == metrics


@pytest.mark.parametrize(
    ("change", "selected_by"),
    [
        ({"checkpoint": "task"}, "task"),
        ({"checkpoint": None}, "run"),
        ({"checkpoint": None, "best_step": {"income": 3, "never_married": 6}}, "task"),
        ({"checkpoint": "run", "best_step": {"income": 3}}, "run"),
    ],
)
def test_the_rule_of_selection_is_known_where_an_earlier_version_did_not_write_it(
    change: dict[str, Any], selected_by: str
) -> None:
    assert replace(MADE_UP, **change).selected_by == selected_by


def test_a_run_without_selected_steps_took_all_its_time() -> None:
    assert replace(MADE_UP, best_step={}, seconds=8.0).seconds_to_best == 8.0
    assert replace(MADE_UP, best_step={"a": 1, "b": 3}, steps=4, seconds=8.0).seconds_to_best == 6.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("seconds"), "seconds: Field required"),
        (lambda values: values["metrics"].update({"test/income/auc": "high"}), "metrics.test/income/auc: "),
        (lambda values: values["metrics"].update({"test/income/auc": float("nan")}), "metrics.test/income/auc: "),
        (lambda values: values["parameters"].pop("dense"), "parameters.dense: Field required"),
        (lambda values: values.update(origin="invented"), "origin: "),
        (lambda values: values.update(seed=1.5), "seed: "),
    ],
)
def test_what_is_no_result_is_refused_with_the_key(tmp_path: Path, change: Any, message: str) -> None:
    values = json.loads(written_by_0_2_0(tmp_path))
    change(values)
    with pytest.raises(DamagedFileError, match="it is damaged: ") as caught:
        parse_result(json.dumps(values).encode(), "it")
    assert message in str(caught.value)


def test_keys_of_other_versions_are_ignored_but_sealed(tmp_path: Path) -> None:
    values = json.loads(written_by_0_2_0(tmp_path))
    values = {**values, "novel": [1, {"a": 2}]}
    with pytest.raises(DamagedFileError, match="it was changed after the run wrote it"):
        parse_result(json.dumps(values).encode(), "it")
    del values["sha256"]
    sealed = {**values, "sha256": content_hash(values)}
    assert parse_result(json.dumps(sealed).encode(), "it").seed == 0
