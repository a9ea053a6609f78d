"""Small data sets that failed once, in the folder of shared material beside the checkout."""

from pathlib import Path

import pytest

CASES = Path(__file__).parents[2] / "shared" / "cases"


def case(name: str) -> list[str]:
    """Overrides that name the Parquet files and the schema of a case; skips the test where there are none."""
    folder = CASES / name
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    return ["dataset=parquet", f"dataset.raw={folder / 'mine'}", f"dataset.schema={folder / 'mine.yaml'}"]
