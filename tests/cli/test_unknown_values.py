"""Values that no training row holds: what a run predicts for a user whom it has never seen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mtlbench.cli import main

SCHEMA = """
rows: {train: "*.parquet"}
fields: [{name: user}, {name: hour}]
tasks: [{name: click, label: click}, {name: like, label: like}]
group: user
"""


@pytest.mark.parametrize("optimizer", ["adam", "lazy_adam"])
def test_the_embedding_of_unknown_values_is_what_training_made_it_and_otherwise_zero(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    rows = {"user": np.repeat(np.arange(100), 6), "hour": np.tile(np.arange(6), 100)}
    Path("mine").mkdir()
    labels = {task: (random.random(600) < 0.4).astype(np.int8) for task in ("click", "like")}
    pd.DataFrame(rows | labels).to_parquet("mine/rows.parquet", index=False)
    Path("mine.yaml").write_text(SCHEMA)
    words = ["model=mmoe", "dataset=parquet", "dataset.raw=mine", "dataset.schema=mine.yaml", f"optimizer={optimizer}"]
    words += ["dataset.split_rule=by_group", "trainer.epochs=2", "trainer.batch_size=64", "tracker=none"]
    assert main(["train", *words]) == 0

    (best,) = Path("runs").glob("*/best.pt")
    (table,) = (
        value
        for name, value in torch.load(best, weights_only=True)["parts"]["model"].items()
        if name.endswith("embedding")
    )
    zero = (table == 0).all(dim=1).nonzero().flatten().tolist()
    hours = 6
    assert zero == [0, 1, len(table) - hours - 1], "padding, unknown users, unknown hours"
