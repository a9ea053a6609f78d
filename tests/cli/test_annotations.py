"""Name, tags and notes of a run: outside its identity, kept, listed and sent to MLflow."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mtlbench.cli import main

SMALL = [
    "model=shared_bottom", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=900",
    "dataset.one_class=note", "trainer.epochs=1", "profile.bottom_layers=[4]", "profile.tower_layers=[4]",
    "profile.embedding_width=2",
]  # fmt: skip

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Any command in an empty folder: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def command(*words: str) -> tuple[int, str, str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status = main([*words])
        return status, *capsys.readouterr()

    return command


def facts() -> dict[str, object]:
    (path,) = Path("runs").glob("*/run.json")
    return json.loads(path.read_text())


def test_name_tags_and_notes_are_no_part_of_the_identity_and_can_be_given_later(
    typed: Command, monkeypatch: pytest.MonkeyPatch
):
    words = ["train", *SMALL, "tracker=none"]
    assert typed(*words, "run.name=a first try, with: colons", "run.tags=[baseline]")[0] == 0
    said = facts()
    assert (said["name"], said["tags"], said["notes"]) == ("a first try, with: colons", {"baseline": "true"}, None)
    status, out, err = typed(*words, "run.tags={stage: final, width: 4}", "run.notes=it's best, so far")
    assert (status, "nothing was trained" in out) == (0, True), err
    said = facts()
    assert said["name"] == "a first try, with: colons"
    assert said["tags"] == {"baseline": "true", "stage": "final", "width": "4"}
    assert said["notes"] == "it's best, so far"
    monkeypatch.setenv("COLUMNS", "200")
    head, _, row = typed("list", "runs")[1].splitlines()
    assert head.split()[-2:] == ["name", "tags"]
    assert row.endswith("  a first try, with: colons  baseline, stage=final, width=4")
    (folder,) = (path.parent for path in Path("runs").glob("*/run.json"))
    shown = typed("show", folder.name)[1]
    assert "\n  tags       baseline, stage=final, width=4\n" in shown
    assert "\n  notes      it's best, so far\n" in shown
    assert typed("evaluate", folder.name)[0] == 0


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # of SQLAlchemy, about MLflow
def test_mlflow_has_the_name_the_tags_and_the_notes_and_what_was_chosen(typed: Command):
    assert typed("train", *SMALL)[0] == 0
    client = MlflowClient("sqlite:///runs/mlflow.db")
    experiment = client.get_experiment_by_name("mtlbench")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name is not None
    assert run.info.run_name.startswith("shared_bottom census 0 rows=900 one_class=note epochs=1 bottom_layers=[4]")
    assert "dataset.simulator.rows=900" in run.data.tags["overrides"]
    assert typed("train", *SMALL, "run.name=mine", "run.tags=[a b]", "run.notes=why: to see")[0] == 0
    run = client.get_run(run.info.run_id)
    assert run.info.run_name == "mine"
    assert run.data.tags["a b"] == "true"
    assert run.data.tags["mlflow.note.content"] == "why: to see"
    assert "name" not in run.data.tags


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("run.tags=5", "run.tags: 5 is not of type"),
        ("run.tags=[state]", "run.tags: 'state' cannot be a tag"),
        ("run.tags={mlflow.user: me}", "run.tags: 'mlflow.user' cannot be a tag"),
        ("run.tags={a/b: c}", "run.tags: 'a/b' cannot be a tag"),
        ("run.notes=" + "x" * 5001, "run.notes has 5,001 characters; allowed: 5,000"),
        ("run.nmae=x", "no such group or key: 'run.nmae'. Did you mean 'run.name'?"),
    ],
)
def test_what_no_tracker_would_store_is_refused(typed: Command, word: str, message: str):
    status, _, err = typed("train", *SMALL, "tracker=none", word)
    assert (status, message in err) == (2, True), err
    assert not Path("runs").exists()
