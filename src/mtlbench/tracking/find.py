"""Finds results of other machines on a tracking server."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mtlbench.result import Result
from mtlbench.tracking.connect import connect, errors_of
from mtlbench.tracking.files import read_content
from mtlbench.tracking.folder import RESULT, parse_result
from mtlbench.tracking.send import experiment_id_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

AT_ONCE = 8
"""Number of concurrent requests, since a request mostly waits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteResult:
    """The result of a run on a tracking server, and MLflow's id of the run."""

    result: Result
    run_id: str


def find_results(uri: str, experiment: str, identities: Sequence[str]) -> dict[str, RemoteResult]:
    """Results of runs finished and sent by other machines, by identity; runs that are not found are left out.

    Sends one request per identity, however many other runs the server has. MLflow 3.17 cannot search for a list of tags
    (``Expected a quoted string value for tag``), and a search for all runs on the same data would return all their
    parameters and metrics.

    Raises:
        TrackingError: the server could not be reached, or failed during the search.
        DamagedFileError: a result on the server is invalid or was edited.
    """
    client = connect(uri)
    with errors_of(uri):
        if client.get_experiment_by_name(experiment) is None:
            return {}
        experiment_id = experiment_id_of(client, uri, experiment)
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            results = list(pool.map(partial(_result, client, experiment_id), identities))
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure the rest would run into the same time-out
    return {identity: found for identity, found in zip(identities, results, strict=True) if found is not None}


def _result(client: "MlflowClient", experiment_id: str, identity: str) -> RemoteResult | None:
    query = f"tags.identity = '{identity}' and attributes.status = 'FINISHED'"
    for run in client.search_runs([experiment_id], filter_string=query, max_results=1):
        with TemporaryDirectory() as folder:
            file = Path(client.download_artifacts(run.info.run_id, RESULT, folder))
            result = parse_result(read_content(file), f"{RESULT} of MLflow's run {run.info.run_id}")
            return RemoteResult(result=result, run_id=run.info.run_id)
    return None
