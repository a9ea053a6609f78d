"""Sweeps, notes and refusals of ``mtlbench train`` that need data: in one process, on a few simulated rows."""

import re
import resource
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from mtlbench.cli import main

SMALL = [
    "dataset=census",
    "dataset.source=simulated",
    "dataset.simulator.rows=900",
    "dataset.one_class=note",
    "trainer.epochs=1",
    "trainer.batch_size=256",
    "tracker=none",
]
SMALL_MODEL = ["profile.expert_layers=[4]", "profile.tower_layers=[4]", "profile.embedding_width=2"]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``mtlbench train`` in an empty folder: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets it

    def command(*words: str) -> tuple[int, str, str]:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            status = main(["train", *words])
        return status, *capsys.readouterr()

    return command


def test_a_key_that_all_swept_models_have_is_set_though_the_default_model_lacks_it(train: Command):
    status, out, err = train("-m", "model=mssm,mssm_b", "model.mask_bias=1.0", *SMALL_MODEL, *SMALL)
    assert status == 0, err
    assert [line.split()[0] for line in out.splitlines()[-2:]] == ["mssm", "mssm_b"]


def test_options_may_stand_behind_overrides(train: Command):
    status, _, err = train("model=mmoe", "-m", "seed=0,1", "trainer.epochs=0", *SMALL[:4])
    assert status == 2
    assert err.count("trainer.epochs is 0") == 3, "one for each run, and one at the end"


@pytest.mark.parametrize(
    ("words", "notes"),
    [
        (["model=dnn", "profile.experts=-1"], ["profile.experts has no effect: model=dnn does not read it"]),
        (["model=dnn", "profile.dropout=0.1", "optimizer.lr=0.01"], []),
        (
            ["model=dnn", "optimizer.lr=1", "optimizer.dense.lr=0.1", "optimizer.embedding.lr=0.1"],
            ["optimizer.lr has no effect: nothing reads it"],
        ),
    ],
)
def test_a_key_that_nothing_reads_gets_a_note(train: Command, words: list[str], notes: list[str]):
    status, _, err = train(*words, *SMALL, "profile.deep_layers=[4]", "profile.embedding_width=2")
    assert status == 0, err
    assert [line for line in err.splitlines() if "note:" in line] == [f"mtlbench: note: {note}" for note in notes]


def test_diagnostics_of_a_model_that_has_none_are_a_warning(train: Command):
    status, _, err = train("-m", "model=shared_bottom,mmoe", "trainer.diagnostics=true", *SMALL_MODEL, *SMALL)
    assert status == 0, err
    assert err.count("! trainer.diagnostics=true has no effect: SharedBottom has no diagnostics() method") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["profile.experts=1000000"], r"model=mmoe would have [\d,]+ parameters or more, [\d,.]+ GB with their "),
        (["profile.embedding_width=9223372036854775807"], "would have a parameter of more than 2"),
        (["model=dcn", "profile.cross_depth=1000000"], "model=dcn would have more than 5,000 modules"),
    ],
)
def test_a_model_that_memory_cannot_hold_is_refused_before_it_is_made(train: Command, words: list[str], message: str):
    status, _, err = train(*words, *SMALL)
    assert status == 2, err
    assert re.search(message, err), err
    assert not list(Path().glob("runs/*/config.yaml"))


def test_a_warning_is_shown_once_in_a_command(train: Command):
    words = [word for word in SMALL if "source" not in word]
    status, _, err = train("-m", "model=shared_bottom", "seed=0,1", *SMALL_MODEL, *words)
    assert status == 0, err
    assert err.count("SIMULATED DATA: no raw files") == 1


@pytest.mark.parametrize(
    ("prepared", "size", "name"), [(False, 30_000, "/simulated/"), (True, 100, "config.yaml"), (True, 4_000, "best.pt")]
)
def test_an_error_of_writing_names_the_file(train: Command, prepared: bool, size: int, name: str):
    """A limit on the size of files, which fails as a full disk does: while writing, with no name in the error."""
    words = ["model=shared_bottom", *SMALL_MODEL, *SMALL]
    if prepared:
        assert train(*words, "seed=1")[0] == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        status, _, err = train(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 1, err
    assert name in err.splitlines()[-1]
    assert "Traceback" not in err
