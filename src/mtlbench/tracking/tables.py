"""Tables and figures in MLflow: tags on their runs, and a separate run with the rendered files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from mtlbench.tracking.connect import connect, errors_of
from mtlbench.tracking.send import experiment_id_of, set_tags
from mtlbench.tracking.tracker import OPERATION, send_bounded
from mtlbench.tracking.worker import call

if TYPE_CHECKING:
    from mlflow import MlflowClient


def send_rendered(
    uri: str,
    experiment: str,
    kind: Literal["table", "figure"],
    name: str,
    members: Mapping[Path, str],
    others: Mapping[str, tuple[str, str]],
    files: Sequence[Path],
    tags: Mapping[str, str],
) -> str:
    """Send the runs of a table or figure that the server lacks, tag them with their rows, and send its rendered files.

    The run with the files is found by its tag ``table`` or ``figure``, so that sending again replaces the files.

    Args:
        uri: tracking URI.
        experiment: name of the MLflow experiment of the runs.
        kind: table or figure.
        name: name of the table or figure.
        members: by run folder, the label of its row.
        others: by MLflow's id, identity and label of runs that only the server has.
        files: the rendered files.
        tags: further tags of the run with the files (paper, banners).

    Returns:
        MLflow's id of the run with the files.

    Raises:
        TrackingError: the server could not be reached, rejected a request or took too long; sending again resumes.
        DamagedFileError: a file of a run is damaged.
    """
    sent = {send_bounded(folder, uri, experiment).run_id: (folder.name, row) for folder, row in members.items()}
    absolute = [file.absolute() for file in files]  # the worker may have another working directory
    return call(OPERATION, _send_rendered, uri, experiment, (kind, name), {**sent, **others}, absolute, tags)


def _send_rendered(
    uri: str,
    experiment: str,
    what: tuple[Literal["table", "figure"], str],
    runs: Mapping[str, tuple[str, str]],
    files: Sequence[Path],
    tags: Mapping[str, str],
) -> str:
    kind, name = what
    client = connect(uri)
    with errors_of(uri):
        for run, (_, row) in runs.items():
            set_tags(client, run, {f"{kind}/{name}": row})
        run_id = _own_run(client, uri, experiment, kind, name)
        set_tags(client, run_id, {**tags, kind: name, "runs": str(len(runs))})
        for file in files:
            client.log_artifact(run_id, str(file))
        with TemporaryDirectory() as temporary:
            listed = Path(temporary) / "runs.json"
            rows = [{"run": run, "identity": identity, "row": row} for run, (identity, row) in runs.items()]
            listed.write_text(json.dumps(rows, indent=1))
            client.log_artifact(run_id, str(listed))
        client.set_terminated(run_id)
    return run_id


def _own_run(client: "MlflowClient", uri: str, experiment: str, kind: str, name: str) -> str:
    experiment_id = experiment_id_of(client, uri, experiment)
    found = list(client.search_runs([experiment_id], filter_string=f"tags.{kind} = '{name}'", max_results=1))
    if found:
        return found[0].info.run_id
    # Tagged on creation, so that after an interruption the next call finds the run.
    return client.create_run(experiment_id, run_name=f"{kind} {name}", tags={kind: name}).info.run_id
