"""The folders that faults are injected into: tiny data, and what undisturbed commands make of them.

Runs and stores remember absolute paths, so every case works in the same folder, ``<root>/case``, which is filled from a
snapshot before the case begins.
"""

import hashlib
import json
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import mtlbench
from mtlbench.cli.search_path import conf_folder
from scripts.torture.command import Ran, run, start, warm_up
from scripts.torture.judge import LostError, done

ROWS = 3000
SMALL = (
    "run.threads=1", "run.device=cpu", "profile.embedding_width=4", "profile.expert_layers=[8]",
    "profile.tower_layers=[4]", "profile.bottom_layers=[8]", "profile.deep_layers=[8]", "profile.experts=2",
)  # fmt: skip
DATA = ("dataset=parquet", "dataset.schema=raw/schema.yaml", "dataset.raw=raw")
TRAIN = (
    "train", "model=mmoe", *DATA, *SMALL, "trainer.batch_size=32", "trainer.epochs=4", "trainer.patience=null",
    "trainer.log_steps=5", "trainer.checkpoint_minutes=0.002",
)  # fmt: skip
"""Three hundred steps, with a checkpoint every 0.12 s."""
PREPARE = ("prepare", *DATA)
SIMULATE = ("simulate", "dataset=census", "rows=6000", "to=made")
REPRODUCE = (
    "reproduce", "census_mmoe", "--rows", "OMoE,MMoE", "--seeds", "1", "dataset.source=simulated",
    "dataset.simulator.rows=2000", "trainer.batch_size=64", "trainer.epochs=2", "trainer.patience=null",
    "trainer.checkpoint_minutes=0.002", *SMALL[:-1], "tracker=none",
)  # fmt: skip

SEALS = ("sha256", "journal")
"""Hashes that a manifest and a result hold of themselves and of the journal, times included."""

MEASURED_HERE = ("finished", "peak_memory_mb", "rows_per_second", "seconds", "seconds_to_best", "time")
"""What depends on the machine and the moment, not on the run."""

PAGE = 4096
UNCOUNTED = (".lock", ".pyc")
"""Endings of files that are no result."""

FIELDS: list[dict[str, Any]] = [
    {"name": "item", "role": "item"},
    {"name": "tags", "width": 3},
    {"name": "price", "kind": "number"},
    {"name": "city", "table": "users", "role": "user"},
    {"name": "age", "kind": "number", "table": "users"},
]
SCHEMA: dict[str, Any] = {
    "rows": {"train": "rows.parquet"},
    "tables": {"users": {"files": "users.parquet", "key": "id", "pointer": "user"}},
    "fields": FIELDS,
    "tasks": [{"name": "click", "label": "clicked"}, {"name": "buy", "label": "bought", "given": "click"}],
    "group": "user",
    "time": "day",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command, the snapshot that it starts from, and a view of what it leaves behind."""

    name: str
    words: tuple[str, ...]
    snapshot: str
    view: Callable[[Path], Any]


class Undisturbed(NamedTuple):
    """What a job leaves behind, its seconds, and the bytes and inodes that its folder takes."""

    view: Any
    seconds: float
    bytes: int
    inodes: int


@dataclass
class Place:
    """Where cases run.

    Attributes:
        root: folder of everything.
        seed: of the data and of every draw.
        intact: results of commands that read intact files, by snapshot and command (see `damage`).
    """

    root: Path
    seed: int = 0
    _undisturbed: dict[str, Undisturbed] = field(default_factory=dict)
    intact: dict[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def case(self) -> Path:
        return self.root / "case"

    @cached_property
    def run_folder(self) -> Path:
        """Of the run that `TRAIN` makes, relative to the case."""
        (path,) = (self.root / "snapshots" / "finished" / "runs").glob("*/result.json")
        return path.parent.relative_to(self.root / "snapshots" / "finished")

    def build(self) -> None:
        """Make data and snapshots by undisturbed commands, and import here what those imported.

        Snapshots of the same code and seed that an earlier run has kept are used again.
        """
        modules, built = self.root / "modules.json", self.root / "snapshots" / "built.json"
        made_of = {"seed": self.seed, "code": tree(Path(mtlbench.__file__).parent), "conf": tree(conf_folder())}
        if built.exists() and json.loads(built.read_text()) == made_of:
            warm_up(modules)
            return
        shutil.rmtree(self.root / "snapshots", ignore_errors=True)
        self.restore(None)
        write_data(self.case / "raw", self.seed)
        self._keep("raw")
        done(start(self.case, [*TRAIN, "tracker=mlflow"], modules=modules).wait(300))
        warm_up(modules)
        for words in (("export", self._name(), "--to", "exported"), (*REPRODUCE,)):
            done(start(self.case, words, modules=modules).wait(600))
            warm_up(modules)
        for path in self.case.glob("runs/*/result.json"):  # of the table's runs only the table is kept, and no data
            if json.loads(path.read_text())["dataset"] != "parquet":
                shutil.rmtree(path.parent)
        for path in ("simulated", "store/census"):
            shutil.rmtree(self.case / "data" / path)
        self._keep("finished")
        shutil.rmtree(self.case / "runs" / "artifacts")
        for path in (*self.case.glob("runs/mlflow.db*"), *self.case.glob("runs/*/mlflow.json")):
            path.unlink()
        self._keep("unsent")
        done(run(self.restore("raw"), PREPARE))
        self._keep("prepared")
        self._stop()
        self._keep("stopped")
        built.write_text(json.dumps(made_of))

    def restore(self, snapshot: str | None) -> Path:
        """Empty the folder of cases and fill it with a snapshot."""
        self.case.mkdir(parents=True, exist_ok=True)
        for path in self.case.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if snapshot is not None:
            shutil.copytree(self.root / "snapshots" / snapshot, self.case, dirs_exist_ok=True)
        return self.case

    def undisturbed(self, job: Job) -> Undisturbed:
        """A job that nothing disturbs; done once."""
        if job.name not in self._undisturbed:
            ran = done(run(self.restore(job.snapshot), job.words, 600))
            self._undisturbed[job.name] = Undisturbed(job.view(self.case), ran.seconds, *used(self.case))
        return self._undisturbed[job.name]

    def _name(self) -> str:
        (path,) = self.case.glob("runs/*/result.json")
        return path.parent.name

    def _keep(self, name: str) -> None:
        shutil.copytree(self.case, self.root / "snapshots" / name)

    def _stop(self) -> None:
        """Leave a training run behind that was killed after some checkpoints."""
        started = start(self.case, [*TRAIN, "tracker=none"])
        while started.alive() and not list(self.case.glob("runs/*/best.pt")):
            time.sleep(0.01)
        time.sleep(0.2)
        if not started.signal(signal.SIGKILL):
            raise LostError("the training run ended before it could be stopped: it is too short")
        started.wait(10)


def jobs() -> dict[str, Job]:
    """Every command that is interrupted, and what counts of what it leaves behind."""
    train = (*TRAIN, "tracker=mlflow")
    every = [
        Job(name="simulate", words=SIMULATE, snapshot="raw", view=lambda case: tree(case / "made")),
        Job(name="prepare", words=PREPARE, snapshot="raw", view=lambda case: tree(case / "data" / "store")),
        Job(name="train", words=train, snapshot="prepared", view=lambda case: numbers(case) | points(case)),
        Job(name="train from raw", words=train, snapshot="raw", view=lambda case: numbers(case) | points(case)),
        Job(name="reproduce", words=REPRODUCE, snapshot="raw", view=tables),
        Job(name="export", words=("export", "{run}", "--to", "new"), snapshot="finished", view=exported),
        Job(name="sync", words=("sync",), snapshot="unsent", view=points),
    ]
    return {job.name: job for job in every}


def write_data(folder: Path, seed: int) -> None:
    """Rows and a table of users as Parquet files, with a schema; labels depend on item, city, price and age."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    users, items = 200, 60
    user, item = random.integers(0, users, ROWS), random.integers(0, items, ROWS)
    city, age = random.integers(0, 9, users), random.normal(40, 10, users)
    price = random.gamma(2, 5, ROWS)
    score = random.normal(0, 1, items)[item] + random.normal(0, 1, 9)[city[user]] + (age[user] - 40) / 20 - price / 20
    clicked = random.random(ROWS) < 1 / (1 + np.exp(-score))
    bought = clicked & (random.random(ROWS) < 0.4)
    tags = [[f"t{tag}" for tag in random.integers(0, 12, size)] for size in random.integers(0, 4, ROWS)]
    rows = {
        "user": user, "item": [f"i{number}" for number in item], "tags": pa.array(tags, pa.list_(pa.string())),
        "price": price, "day": random.integers(0, 10, ROWS),
        "clicked": clicked.astype(int), "bought": bought.astype(int),
    }  # fmt: skip
    pq.write_table(pa.table(rows), folder / "rows.parquet", row_group_size=1000)
    table = pa.table({"id": np.arange(users), "city": [f"c{number}" for number in city], "age": age})
    pq.write_table(table, folder / "users.parquet")
    (folder / "schema.yaml").write_text(yaml.safe_dump(SCHEMA, sort_keys=False))


def tree(folder: Path, without: Sequence[str] = ()) -> dict[str, str]:
    """SHA-256 of every file below a folder; locks, compiled modules and the named files are left out."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in UNCOUNTED]
    return {
        str(path.relative_to(folder)): hashlib.sha256(_content(path)).hexdigest()
        for path in files
        if path.name not in without
    }


def numbers(case: Path) -> dict[str, Any]:
    """Result and journal of every run, without what depends on the machine."""
    found: dict[str, Any] = {}
    for folder in sorted(path.parent for path in case.glob("runs/*/run.json")):
        result = folder / "result.json"
        found[folder.name] = {
            "result": _unsealed(result) if result.exists() else None,
            "journal": [_still(json.loads(text)) for text in (folder / "metrics.jsonl").read_text().splitlines()],
        }
    return found


def points(case: Path, database: Path | None = None, experiment: str = "mtlbench") -> dict[str, Any]:
    """Runs of an MLflow database: state, parameters, and every point of every metric, as often as it is there."""
    database = database or case / "runs" / "mlflow.db"
    if not database.exists():
        return {"mlflow": None}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        runs = connection.execute(
            "SELECT run_uuid, runs.name, status FROM runs JOIN experiments USING (experiment_id) "
            "WHERE experiments.name = ? AND runs.lifecycle_stage = 'active' ORDER BY runs.name",
            [experiment],
        ).fetchall()
        return {
            "mlflow": [
                {
                    "name": name,
                    "status": status,
                    "parameters": dict(
                        connection.execute("SELECT key, value FROM params WHERE run_uuid = ?", [run]).fetchall()
                    ),
                    "points": sorted(
                        list(point)
                        for point in connection.execute(
                            "SELECT key, step, value FROM metrics WHERE run_uuid = ?", [run]
                        ).fetchall()
                        if not point[0].endswith(MEASURED_HERE)
                    ),
                }
                for run, name, status in runs
            ]
        }


def tables(case: Path) -> dict[str, Any]:
    """A measured table in all its forms, without costs."""
    found: dict[str, Any] = {}
    for path in sorted((case / "tables").glob("census_mmoe.*")):
        found[path.name] = _still(json.loads(path.read_text())) if path.suffix == ".json" else path.read_text()
    return found


def exported(case: Path) -> dict[str, str]:
    """Files of an exported model, without the one that holds its moment and a random name, and its hash."""
    return tree(case / "new", without=("MLmodel", "SHA256SUMS"))


def _content(path: Path) -> bytes:
    """Bytes of a file; a store's manifest without the seconds that preparing took, unless it was damaged."""
    content = path.read_bytes()
    if path.name != "manifest.json":
        return content
    try:
        return json.dumps(_unsealed(path), sort_keys=True).encode()
    except (ValueError, AttributeError):
        return content


def _unsealed(path: Path) -> dict[str, Any]:
    return _still({name: value for name, value in json.loads(path.read_text()).items() if name not in SEALS})


def _still(content: Any) -> Any:
    if isinstance(content, dict):
        moving = MEASURED_HERE
        return {name: _still(value) for name, value in content.items() if not str(name).endswith(moving)}
    return [_still(value) for value in content] if isinstance(content, list) else content


def used(folder: Path) -> tuple[int, int]:
    """Bytes in pages, and inodes, that a folder takes on a tmpfs."""
    paths = list(folder.rglob("*"))
    sizes = [path.lstat().st_size for path in paths if path.is_file()]
    return sum(-(-size // PAGE) * PAGE for size in sizes) + PAGE, len(paths) + 1


def ran_twice(ran: Ran) -> bool:
    """Whether a command found its work done by an earlier start, where that is an error (a folder that exists)."""
    return ran.code == 2 and "exists" in ran.err


def written(value: Any) -> str:
    """A value as Hydra's command line reads it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{written(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value) if isinstance(value, int | float) else "'" + value.replace("'", "\\'") + "'"
