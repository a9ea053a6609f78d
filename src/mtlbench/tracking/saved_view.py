"""A saved view of MLflow's list of runs with a column per test metric (MLflow calls it a *shared view*).

MLflow stores the columns of the list in the browser. On the server it stores views only, in a tag of the experiment; a
view is shown if the address contains its key (from the source code of MLflow 3.17).
"""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "mtlbench"
TAG = f"mlflow.sharedViewState.{KEY}"
PARAMETER = f"viewStateShareKey={KEY}"
"""Query parameter of the page's address with the key of a view."""

SHOWN = ("auc", "rmse")
"""Test metrics with a column, of binary and of regression tasks."""

NEWEST = 200
"""Maximum number of runs whose metrics determine the columns."""


def save_view(client: "MlflowClient", experiment_id: str) -> None:
    """Save a view with a column for each task's test metric, and for age, duration and convergence of the run."""
    runs = client.search_runs([experiment_id], max_results=NEWEST)
    measured = dict.fromkeys(name for run in runs for name in sorted(run.data.metrics))
    metrics = [name for name in measured if name.startswith("test/") and name.rpartition("/")[2] in SHOWN]
    columns = ["attributes.`Created`", "attributes.`Duration`", "tags.`converged`"]
    view = {"selectedColumns": [*columns, *(f"metrics.`{name}`" for name in metrics)]}
    client.set_experiment_tag(experiment_id, TAG, json.dumps(view))
