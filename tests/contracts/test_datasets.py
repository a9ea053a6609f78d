"""What every data set in ``conf/dataset`` must keep: found by globbing, judged by what it writes and reads."""

import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from omegaconf import DictConfig
from sklearn.metrics import roc_auc_score

from mtlbench.cli.compose import compose
from mtlbench.data.store import SPLITS, Store
from mtlbench.experiment.build import build
from mtlbench.experiment.check import check_dataset_keys
from mtlbench.experiment.data import DataSource, open_or_prepare, resolve_data, simulated
from mtlbench.ingest.manifest import accounts
from mtlbench.ingest.protocol import RawError
from mtlbench.report.store import store_text

CONF = Path(__file__).parents[2] / "conf" / "dataset"
NAMES = sorted(path.stem for path in CONF.glob("[!_]*.yaml"))


def has_simulator(name: str) -> bool:
    """Whether the reader of a data set, or of the one that its file extends, can simulate; none has to."""
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    if "reader" not in config:
        return has_simulator(next(base for base in config["defaults"] if base != "_self_"))
    module, _, reader = config["reader"]["_target_"].rpartition(".")
    return hasattr(getattr(importlib.import_module(module), reader), "simulate")


SIMULATED = [name for name in NAMES if has_simulator(name)]
PRIVATE = ("alipay", "sines", "xiaomi")  # never published
ROWS = 20_000


def test_how_many_there_are() -> None:
    assert len(NAMES) >= 12  # a floor, against a search that finds nothing; it need not follow new data sets
    assert set(PRIVATE) < set(SIMULATED)


def composed(name: str, folder: Path, *overrides: str) -> DictConfig:
    small = [f"dataset.simulator.rows={ROWS}"] if name in SIMULATED else []
    config = compose([f"dataset={name}", *small, f"run.data={folder}", *overrides])
    return config.dataset


@pytest.fixture(scope="module", params=SIMULATED)
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    folder = tmp_path_factory.mktemp(request.param)
    return resolve_data(composed(request.param, folder, "dataset.source=simulated"), folder)


@pytest.fixture(scope="module")
def store(data: DataSource) -> Store:
    return open_or_prepare(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_has_every_key(name: str) -> None:
    text = (CONF / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("defaults")]
    assert all("#" in line or line.rstrip().endswith((":", "]", "}")) or ": " in line for line in lines)
    if name == "parquet":
        return
    dataset = composed(name, Path("unused"))
    check_dataset_keys(dataset)
    assert ("simulator" in dataset) == (name in SIMULATED)
    if name not in SIMULATED:
        assert dataset.source == "real"
        return
    assert {"seed", "rows", "structure"} <= set(dataset.simulator)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"parquet"}))
def test_a_reader_says_where_its_files_come_from(name: str, tmp_path: Path) -> None:
    dataset = composed(name, tmp_path)
    reader = build(dataset.reader, "dataset.reader")
    module = inspect.getdoc(inspect.getmodule(type(reader)))
    assert module is not None
    assert inspect.getdoc(type(reader))
    assert reader.where
    if name in PRIVATE:
        assert "SIMULATED" in module
        assert "published" in reader.where
    else:
        assert "Source:" in module, f"the module docstring of {name}'s reader says where files are from: 'Source: ...'"
        assert "Terms:" in module, f"the module docstring of {name}'s reader says under which licence: 'Terms: ...'"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RawError) as refused:
        resolve_data(composed(name, tmp_path, "dataset.source=real", f"dataset.raw={empty}"), tmp_path)
    assert reader.where in str(refused.value)


def test_simulated_files_become_a_store_that_says_so(data: DataSource, store: Store) -> None:
    assert store.origin == "simulated"
    assert [task.name for task in store.schema.tasks] == [task.name for task in data.reader.tasks] or data.config.get(
        "relabel"
    )
    for facts in store.manifest["splits"].values():
        assert all(20 <= positives <= facts["rows"] - 20 for positives in facts["positives"].values())
    assert all("simulated" in line for line in accounts(store.manifest))
    shown = store_text(store)
    assert "SIMULATED DATA" in shown
    binary = [task for task in store.schema.tasks if task.kind == "binary"]
    assert ("positive for both" in shown) == (len(binary) > 1)
    assert ("regression task" in shown) == (len(binary) < len(store.schema.tasks))
    assert all(f.role for f in store.schema.fields if f.table is not None)
    store.verify()


def test_the_truth_ranks_better_than_chance_and_is_calibrated(store: Store) -> None:
    rows = store.split("train")
    if all(task.kind == "regression" for task in store.schema.tasks):
        assert "truth" not in rows.columns, "a number has no true probability"
        return
    truth, labels = rows.columns["truth"].double().numpy(), rows.columns["labels"].numpy()
    for task in range(labels.shape[1]):
        assert roc_auc_score(labels[:, task], truth[:, task]) > 0.65
        spread = np.sqrt((truth[:, task] * (1 - truth[:, task])).sum())
        assert abs(labels[:, task].sum() - truth[:, task].sum()) <= 5 * spread + 1e-9


def test_every_id_stands_in_the_range_of_its_field(store: Store) -> None:
    for split in SPLITS:
        rows = store.split(split)
        batch = rows.gather(torch.arange(len(rows)))
        assert torch.isfinite(batch.numbers).all()
        for field in store.schema.id_fields:
            ids = batch.ids[:, list(store.schema.slots[field.name])]
            first = store.schema.offsets[field.name]
            inside = (ids >= first) & (ids < first + field.cardinality)
            assert (inside | ((ids == 0) if field.width > 1 else False)).all()


def test_the_same_knobs_write_the_same_bytes_and_another_seed_others(data: DataSource, tmp_path: Path) -> None:
    first = simulated(data)
    again = composed(data.config.name, tmp_path, "dataset.source=simulated")
    other = composed(data.config.name, tmp_path, "dataset.source=simulated", "dataset.simulator.seed=7")
    same, different = (simulated(resolve_data(dataset, tmp_path)) for dataset in (again, other))
    assert same != different
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names
    assert all((first / name).read_bytes() == (same / name).read_bytes() for name in names)
    assert any((first / name).read_bytes() != (different / name).read_bytes() for name in names)
