"""Fields of other names than their columns: the file that a model was trained on is scored as it is."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import mtlbench
from mtlbench.cli import main

SCHEMA = {
    "rows": {"train": "rows.parquet"},
    "fields": [
        {"name": "video", "column": "video_id"},
        {"name": "tags", "column": "labels", "width": 3, "weights": "label_weights", "separator": "|"},
        {"name": "price", "kind": "number"},
    ],
    "tasks": [{"name": "click", "label": "clicked"}],
    "key": ["video_id", "request"],
}
OWN = {"video_id": "video", "labels": "tags", "label_weights": "tags:weight"}


def frame(rows: int = 240) -> pd.DataFrame:
    random = np.random.default_rng(0)
    tags = [random.integers(0, 5, n).tolist() for n in random.integers(0, 4, rows)]
    return pd.DataFrame(
        {
            "request": range(rows),
            "video_id": [f"v{number}" for number in random.integers(0, 9, rows)],
            "labels": tags,
            "label_weights": [[0.5 + tag for tag in each] for each in tags],
            "price": random.normal(size=rows),
            "clicked": random.integers(0, 2, rows),
        }
    )


def test_training_files_are_scored_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    rows = frame()
    rows.to_parquet("mine/rows.parquet")
    Path("mine.yaml").write_text(yaml.safe_dump(SCHEMA))
    words = ["dataset=parquet", "dataset.raw=mine", "dataset.schema=mine.yaml", "tracker=none", "run.threads=1"]
    small = ["model=shared_bottom", "profile.bottom_layers=[8]", "trainer.batch_size=32", "trainer.epochs=1"]
    assert main(["train", *words, *small]) == 0
    (run,) = Path("runs").glob("*/result.json")
    assert main(["export", str(run.parent), "--to", "exported", "--no-onnx"]) == 0

    rows.rename(columns=OWN).to_parquet("own.parquet")
    rows.assign(labels=rows.labels.map(str), label_weights=rows.label_weights.map(str)).to_csv("rows.csv", index=False)
    cells = {name: ["|".join(map(str, each)) for each in rows[name]] for name in ("labels", "label_weights")}
    rows.assign(**cells).to_csv("cells.csv", index=False)
    scores: list[np.ndarray] = []
    for file in ("mine/rows.parquet", "own.parquet", "rows.csv", "cells.csv"):
        assert main(["score", "exported", file, "--to", "p.parquet"]) == 0, capsys.readouterr().err
        scored = pd.read_parquet("p.parquet")
        scores.append(scored.p_click.to_numpy())
        assert scored.request.equals(rows.request)
        assert ("video_id" in scored) == (file != "own.parquet"), "a key goes by its column's name alone"
    assert scores[0].std() > 0
    for other in (*scores, mtlbench.load(run.parent).predict(rows).p_click.to_numpy()):
        np.testing.assert_array_equal(other, scores[0])

    rows.rename(columns={"video_id": "vidoe"}).to_parquet("wrong.parquet")
    assert main(["score", "exported", "wrong.parquet"]) == 2
    assert "column 'video' is there 0 times" in capsys.readouterr().err
