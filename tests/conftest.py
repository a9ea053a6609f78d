"""What tests of several floors share: an MLflow database that is made once."""

import shutil
from pathlib import Path

import pytest

from mtlbench.tracking.connect import DATABASE, connect, default_uri


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
