"""The saved view of MLflow's list of runs: which columns stand in it, in MLflow's words a *shared view*.

MLflow keeps the columns of the list in the browser. What it takes from a server is a view in a tag of the experiment,
shown where the address has its key (read from the sources of MLflow 3.17).
"""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "mtlbench"
TAG = f"mlflow.sharedViewState.{KEY}"
PARAMETER = f"viewStateShareKey={KEY}"
"""Of the page's address."""

SHOWN = ("auc", "rmse")
"""Test metrics with a column: of binary and of regression tasks."""

NEWEST = 200
"""Runs whose metrics decide on the columns."""


def save_view(client: "MlflowClient", experiment_id: str) -> None:
    """Give each task's test metric a column, beside the run's age, its duration, and whether it converged."""
    runs = client.search_runs([experiment_id], max_results=NEWEST)
    measured = dict.fromkeys(name for run in runs for name in sorted(run.data.metrics))
    metrics = [name for name in measured if name.startswith("test/") and name.rpartition("/")[2] in SHOWN]
    columns = ["attributes.`Created`", "attributes.`Duration`", "tags.`converged`"]
    view = {"selectedColumns": [*columns, *(f"metrics.`{name}`" for name in metrics)]}
    client.set_experiment_tag(experiment_id, TAG, json.dumps(view))
