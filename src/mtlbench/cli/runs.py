"""Reads the runs of a folder as records, filters and sorts them, and prints them as JSON or CSV."""

import csv
import difflib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mtlbench.cli.choices import default_values
from mtlbench.experiment.errors import ConfigError
from mtlbench.metrics.declared import declared_metrics
from mtlbench.metrics.names import metric as known_metric
from mtlbench.metrics.names import ordered_names
from mtlbench.tracking.files import DamagedFileError
from mtlbench.tracking.folder import CONFIG, RESULT, read_facts, read_result, read_status, run_folders
from mtlbench.tracking.parameters import flatten, read_config

Record = dict[str, Any]

OF_RUN = ("model", "dataset", "origin", "seed", "state", "paper", "data", "commit", "folder", "name", "tags", "notes")
OF_RESULT = (
    "epochs", "steps", "seconds", "rows_per_second", "peak_memory_mb", "parameters", "best_step", "best_valid",
    "checkpoint", "finished", "warnings",
)  # fmt: skip


def read_record(folder: Path) -> Record:
    """A run's facts, its configuration and, if it has finished, its results.

    ``metrics`` and ``undefined`` are those of the test split, by ``<task>/<metric>``.

    Raises:
        DamagedFileError: one of its small files is damaged.
    """
    about = asdict(read_facts(folder)[0]) | {"state": read_status(folder).state, "folder": str(folder)}
    record: Record = {"run": folder.name, **{name: about[name] for name in OF_RUN}}
    record |= {"metrics": {}, "undefined": {}, "config": read_config(folder / CONFIG)}
    declared_metrics(record["config"])
    if (folder / RESULT).exists():
        result = read_result(folder)
        measured = asdict(result)
        record |= {"metrics": result.test.values, "undefined": result.test.undefined}
        record |= {name: measured[name] for name in OF_RESULT}
    return record


def find_records(
    runs: Path, filters: Sequence[str], sort: str | None = None
) -> tuple[list[Record], dict[Path, DamagedFileError]]:
    """The records of the runs that match all filters, oldest first, and errors of unreadable runs by folder.

    Args:
        runs: the folder of the runs.
        filters: ``key=value`` of the run or of its configuration; comma-separated values are alternatives.
        sort: a metric (best first) or any key (smallest first). Runs without it come last.

    Raises:
        ConfigError: a filter is not ``key=value``, or no run has the key.
    """
    records: list[Record] = []
    damaged: dict[Path, DamagedFileError] = {}
    for folder in sorted(run_folders(runs), key=_begun):
        try:
            records.append(read_record(folder))
        except DamagedFileError as error:
            damaged[folder] = error
    flat = {record["run"]: flat_record(record) for record in records}
    for word in filters:
        key, equals, _ = word.partition("=")
        if not equals:
            raise ConfigError(f"'{word}' is not a filter; expected key=value, as in model=mmoe")
        _refuse_unknown(key, flat.values())
    chosen = [record for record in records if all(_passes(flat[record["run"]], word) for word in filters)]
    if sort is not None:
        key = sort.removeprefix("test/")
        _refuse_unknown(key, flat.values())
        falling = "/" in key and known_metric(key.rpartition("/")[2]).better == "higher"
        order = [(flat[record["run"]].get(key), record) for record in chosen]
        ranked = sorted((pair for pair in order if pair[0] is not None), key=lambda p: _rank(p[0]), reverse=falling)
        chosen = [record for _, record in (*ranked, *(pair for pair in order if pair[0] is None))]
    return chosen, damaged


def flat_record(record: Record) -> dict[str, Any]:
    """A record flattened to one level: facts, metrics by name, and configuration values as text."""
    flat = {name: value for name, value in record.items() if name not in ("metrics", "undefined", "config")}
    return flatten(record["config"]) | flat | record["metrics"]


def columns(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Rows of a table: facts of the runs, the settings in which they differ, test metrics and costs."""
    records = list(records)
    configs = [flatten({k: v for k, v in record["config"].items() if k not in ("run", "seed")}) for record in records]
    keys = dict.fromkeys(key for config in configs for key in config)
    differing = [key for key in keys if len({config.get(key) for config in configs}) > 1]
    metrics = dict.fromkeys(name for record in records for name in record["metrics"])
    plain = ("run", *OF_RUN[:5])
    return [
        {name: record[name] for name in plain}
        | {key: config.get(key) for key in differing}
        | {name: record["metrics"].get(name) for name in metrics}
        | {name: record.get(name) for name in ("epochs", "steps", "seconds", "rows_per_second")}
        | {"folder": record["folder"]}
        for record, config in zip(records, configs, strict=True)
    ]


def print_json(content: Record | list[Record]) -> None:
    print(json.dumps(content, indent=1, allow_nan=False, default=str))


def print_csv(records: Sequence[Record]) -> None:
    rows = columns(records)
    writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else ["run", *OF_RUN[:5]], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def metric_rows(records: Sequence[Record]) -> list[tuple[str, list[float | None]]]:
    """Test metrics of several runs side by side, ordered by task and then as in reports."""
    names = dict.fromkeys(name for record in records for name in record["metrics"])
    tasks = dict.fromkeys(name.rpartition("/")[0] for name in names)
    ordered = [
        name
        for task in tasks
        for metric in ordered_names({name.rpartition("/")[2] for name in names})
        if (name := f"{task}/{metric}".lstrip("/")) in names
    ]
    return [(name, [record["metrics"].get(name) for record in records]) for name in ordered]


def _passes(flat: Mapping[str, Any], word: str) -> bool:
    key, _, text = word.partition("=")
    value = flat.get(key)
    alternatives = [text] if text[:1] in "[{" else text.split(",")
    return any(_equals(value, alternative) for alternative in alternatives)


def _equals(value: Any, text: str) -> bool:
    """Whether a value equals the value written in a text: 0.001 equals 1e-3, and [1, 2] equals [1,2]."""
    shown = value if isinstance(value, str) else json.dumps(value, default=str)
    if "".join(text.split()) == "".join(shown.split()):
        return True
    try:
        return float(text) == float(shown)
    except ValueError:
        return False


def _rank(value: Any) -> tuple[bool, float, str]:
    """Sort key: numbers by value, then texts alphabetically."""
    try:
        return False, float(value), ""
    except (TypeError, ValueError):
        return True, 0.0, str(value)


def _refuse_unknown(key: str, flat: Iterable[Mapping[str, Any]]) -> None:
    there = {name for each in flat for name in each} or {*OF_RUN, *default_values("train", {})}
    if key not in there:
        close = difflib.get_close_matches(key, there, n=1)
        hint = f"; did you mean {close[0]}?" if close else ". `mtlbench show RUN --json` shows the keys of a run"
        raise ConfigError(f"no run has a key '{key}'{hint}")


def _begun(folder: Path) -> float:
    """When a run began: the modification time of its ``run.json`` or, if that is lost, of its folder."""
    path = folder / "run.json"
    return (path if path.exists() else folder).stat().st_mtime
