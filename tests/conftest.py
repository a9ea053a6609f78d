"""What tests of all floors share: an MLflow database that is made once, and when garbage is collected."""

import gc
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from mtlbench.tracking.connect import DATABASE, connect, default_uri

settings.register_profile("untimed", deadline=None)  # a first example may wait for an import; no test is timed
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Imported modules and collected tests stay until the end, so no garbage is looked for among them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Creating a database takes longer than all that is done with it here, so it is done once and copied."""
    folder = tmp_path_factory.mktemp("mlflow")
    connect(default_uri(folder))
    return folder / DATABASE


@pytest.fixture
def runs(tmp_path: Path, empty_database: Path) -> Path:
    """A folder of runs with an empty database beside them."""
    shutil.copy(empty_database, tmp_path / DATABASE)
    return tmp_path
