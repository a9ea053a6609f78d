"""A finished run on the toy data, which have every kind of field, and its export."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from omegaconf import DictConfig, OmegaConf

from mtlbench.allowed import ALLOW
from mtlbench.cli.compose import compose
from mtlbench.data.layout import ROWS
from mtlbench.experiment.run import train
from mtlbench.export.bundle import Exported, export_run
from mtlbench.ingest.protocol import KEY, Shard
from toy import Toy, write_toy

DATASET = {
    "name": "toy",
    "reader": {"_target_": "toy.Toy"},
    "tasks": None,
    "source": "real",
    "on_error": "fail",
    "split": {"_target_": "mtlbench.data.split.by_train_group", "_partial_": True, "valid": 0.3, "seed": 0},
    "disjoint": [],
    "one_class": "fail",
    "min_count": 25,  # so that there are values that the vocabularies do not know
    "metrics": None,
    "simulator": {},
}


@pytest.fixture(scope="session", autouse=True)
def toy_is_allowed() -> Iterator[None]:
    """The reader of the toy data is no part of mtlbench."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ALLOW, "toy")
        yield


def configured(place: Path, *overrides: str) -> DictConfig:
    """A small run on the toy files below a folder."""
    small = ["tracker=none", "trainer.epochs=1", "profile.embedding_width=4", "trainer.batch_size=64"]
    config = compose(["dataset=census", *small, f"run.data={place}/data", f"run.folder={place}/runs", *overrides])
    OmegaConf.set_struct(config, False)
    config.dataset = {**DATASET, "raw": str(place / "raw")}
    return config


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    write_toy(folder / "raw", rows=250)
    return folder


@pytest.fixture(scope="session")
def configure(place: Path) -> Callable[..., DictConfig]:
    """Overrides to the configuration of a small run."""
    return partial(configured, place)


@pytest.fixture(scope="session")
def run_folder(place: Path) -> Path:
    return train(configured(place, "model=mmoe", "loss.pos_weight=balanced")).folder


@pytest.fixture(scope="session")
def exported(place: Path, run_folder: Path) -> Exported:
    return export_run(run_folder, place / "exported" / "mmoe", rows=40)


@pytest.fixture(scope="session")
def raw_rows(place: Path) -> pa.Table:
    """The rows of the test part as the reader itself gives them, joined with their users here."""
    users = {row[KEY]: row for row in _read(place, "users").to_pylist()}
    rows = _read(place, ROWS).to_pylist()
    joined = [{**users[row[f"{KEY}:users"]], **row} for row in rows]
    kinds = {field.name: field.type for name in (ROWS, "users") for field in _read(place, name).schema}
    names = ["item", "tags", "colour", "city", "history", "history:weight", "price", "embedding", "clicked"]
    return pa.table({name: pa.array([row[name] for row in joined], kinds[name]) for name in names})


def _read(place: Path, table: str) -> pa.Table:
    file = next(file for file in Toy().files if file.table == table and file.part == "test")
    path = place / "raw" / file.name
    shard = Shard(path=path, file=file, start=0, stop=path.stat().st_size)
    return pa.Table.from_batches([block.columns for block in Toy().read(shard)])
