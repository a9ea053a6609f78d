"""Where a run's page is, as far as the run's folder knows."""

import json
from pathlib import Path

import pytest

from mtlbench.tracking.sent import link_of


@pytest.mark.parametrize(
    ("uris", "link"),
    [
        (["sqlite:////x/mlflow.db"], None),
        (["sqlite:////x/mlflow.db", "https://host/mlflow/"], "https://host/mlflow/#/runs/r1"),
    ],
)
def test_a_run_links_to_servers_and_not_to_files(tmp_path: Path, uris: list[str], link: str | None) -> None:
    assert link_of(tmp_path) is None
    sent = {"experiment": "e", "journal": 0, "journal_digest": "", "description": ""}
    servers = {uri: {**sent, "run_id": f"r{i}"} for i, uri in enumerate(uris)}
    (tmp_path / "mlflow.json").write_text(json.dumps(servers))
    assert link_of(tmp_path) == link
