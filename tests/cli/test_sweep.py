"""Sweeps, notes and refusals of ``mtlbench train`` that need data: in one process, on a few simulated rows."""

import io
import re
import resource
import statistics
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from mtlbench.cli import main
from mtlbench.cli.sweep import combinations
from mtlbench.result import Result
from mtlbench.tracking.folder import read_result

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
    closing = out[out.rindex("test split  SIMULATED DATA: census\n") :]
    assert [line.split()[0] for line in closing.splitlines() if line.startswith("  mssm")] == ["mssm", "mssm_b"]


def test_options_may_stand_behind_overrides(train: Command):
    status, _, err = train("model=mmoe", "-m", "seed=0,1", "trainer.epochs=0", *SMALL[:4])
    assert status == 2
    assert err.count("trainer.epochs is 0") == 2, "one for each run"


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


CONFIGURATIONS = ["profile.expert_layers=[4],[6]", "seed=0,1"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder with the runs of a sweep over two configurations and two seeds, and what was printed of them."""
    folder = tmp_path_factory.mktemp("swept")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        patch.chdir(folder)
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        patch.setenv("COLUMNS", "200")
        warnings.simplefilter("ignore")
        assert main(["train", "-m", "model=mmoe", *CONFIGURATIONS, *SMALL_MODEL[1:], *SMALL]) == 0, err.getvalue()
    return folder, out.getvalue(), err.getvalue()


def results(folder: Path) -> list[Result]:
    return [read_result(path.parent) for path in folder.glob("runs/*/result.json")]


def test_the_closing_table_names_what_differs_and_folds_the_seeds(swept: tuple[Path, str, str]):
    folder, out, _ = swept
    caption, _, head, _, *rows, note, problem = out[out.rindex("test split  SIMULATED") :].splitlines()
    assert caption == "test split  SIMULATED DATA: census"
    assert head.split("  ")[1] == "profile.expert_layers"
    assert "model" not in head
    assert [row.split()[0] for row in rows] == ["[4]", "[6]"]
    assert note == "  * best configuration; mean ± standard deviation over seeds"
    assert problem.startswith("  ! NOT CONVERGED: 4 of 4 runs.")
    assert all(re.search(r" 2 +no +[\d,]+$", row) for row in rows), "seeds, converged, rows/s"
    means: dict[str, float] = {}
    for row in rows:
        configs = {path.parent: yaml.safe_load(path.read_text()) for path in folder.glob("runs/*/config.yaml")}
        runs = [run for run, config in configs.items() if str(config["model"]["expert_layers"]) == row.split()[0]]
        aucs = [read_result(run).test.value("auc", "income") or 0.0 for run in runs]
        assert len(aucs) == 2
        means[row] = statistics.mean(aucs)
        assert f"{means[row]:.4f} ± {statistics.stdev(aucs):.4f}" in row
    best = max(means, key=lambda row: means[row])
    assert f"{means[best]:.4f} ± " in best
    assert re.search(rf"{means[best]:.4f} ± [\d.]+\*", best)
    assert sum(bool(re.search(rf"{mean:.4f} ± [\d.]+\*", row)) for row, mean in means.items()) == 1


def test_the_header_of_a_run_names_what_differs_and_every_run_is_printed(swept: tuple[Path, str, str]):
    folder, out, err = swept
    headers = [line for line in err.splitlines() if line.startswith("profile.expert_layers=")]
    assert headers == [f"profile.expert_layers=[{width}], census, seed {seed}" for width in (4, 6) for seed in (0, 1)]
    assert all(f"run     {folder / 'runs' / result.identity}" in out for result in results(folder))


def test_a_repeated_sweep_trains_nothing_and_fits_a_narrow_terminal(
    swept: tuple[Path, str, str], train: Command, monkeypatch: pytest.MonkeyPatch
):
    folder, before, _ = swept
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "60")
    status, out, err = train("-m", "model=mmoe", *CONFIGURATIONS, *SMALL_MODEL[1:], *SMALL)
    assert status == 0, err
    assert out.count("already finished; nothing was trained") == 4
    closing = out[out.rindex("test split  SIMULATED") :]
    assert max(map(len, closing.splitlines())) <= 60
    assert " profile.expert_layers=[4] (seeds 2, converged no, rows/s " in " ".join(closing.split())
    assert "  ! NOT CONVERGED: 4 of 4 runs. Their " in closing
    cells = re.findall(r"[\d.]+ ± [\d.]+\*?", closing)
    assert sorted(cells) == sorted(re.findall(r"[\d.]+ ± [\d.]+\*?", before))


def test_runs_are_listed_with_what_tells_them_apart(
    swept: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(swept[0])
    assert main(["list", "runs"]) == 0
    narrow = capsys.readouterr().out.splitlines()
    assert max(map(len, narrow)) <= 80, "the width of a terminal that does not say its own"
    assert [line.split()[-1] for line in narrow if line.startswith("      settings: ")] == [
        *["model.expert_layers=[4]"] * 2, *["model.expert_layers=[6]"] * 2,
    ]  # fmt: skip
    assert sum(line.startswith("      test AUC: income 0.") for line in narrow) == 4
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["list", "runs"]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[-1] == "settings"
    assert sorted(row.split()[-1] for row in rows) == ["model.expert_layers=[4]"] * 2 + ["model.expert_layers=[6]"] * 2


def test_a_failed_run_stops_no_other_and_is_named_at_the_end(train: Command, tmp_path: Path):
    """One whose folder cannot be made fails while it runs; one that cannot be meant, before."""
    words = ["model=shared_bottom", "profile.bottom_layers=[4]", "profile.embedding_width=2", *SMALL]
    assert train(*words, "seed=1")[0] == 0
    (run,) = Path("runs").glob("*/result.json")
    run.write_text("{")
    status, out, err = train("-m", *words, "seed=0,1")
    assert status == 1, err
    assert len(list(Path("runs").glob("*/result.json"))) == 2
    assert f"failed: model=shared_bottom, census, seed 1 ({run.parent.name}): DamagedFileError" in err.splitlines()[-1]
    assert re.search(r"^  shared_bottom .*  1 of 2 +no  ", out, re.MULTILINE)


def test_a_run_that_another_process_trains_is_waited_for(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ["model=shared_bottom", "profile.bottom_layers=[4]", "profile.embedding_width=2", *SMALL]
    assert train(*words, "seed=1")[0] == 0
    (run,) = Path("runs").glob("*/result.json")
    lock = FileLock(run.parent.with_name(run.parent.name + ".lock"))
    lock.acquire()
    monkeypatch.setattr("mtlbench.reproduce.execute.time.sleep", lambda _: lock.release())
    status, _, err = train("-m", *words, "seed=0,1")
    assert status == 0, err
    assert "waiting for 1 runs that other processes are training" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["-m", "seed=0,1", "hydra/sweeper=optuna"],
            "`mtlbench tune` searches hyperparameters by their validation score",
        ),
        (["-m", "seed=0,1", "hydra.sweeper.max_batch_size=2"], "hydra.launcher.n_jobs (joblib) and"),
        (["-m", "seed=0,1", "hydra/launcher=ray"], "no such launcher; allowed: basic, joblib"),
        (["-m", "seed=0,1", "hydra.sweep.dir=x"], "only hydra/launcher and hydra.launcher.<key> can be set"),
        (["hydra/launcher=joblib"], "a launcher only applies to sweeps, mtlbench train -m"),
        (["-m", "model=mmoe,dnn", "model.expert=1"], "model=mmoe has no key 'model.expert'"),
        (["--config-dir", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_a_sweep_that_cannot_be_meant_is_refused_before_it_begins(train: Command, words: list[str], message: str):
    status, out, err = train(*words, *SMALL)
    assert (status, out) == (2, "")
    assert message in err
    assert not list(Path().iterdir())


def test_sweeps_expand_as_hydra_expands_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MTLBENCH_CONF", str(tmp_path))
    for group in ("model", "optimizer"):
        (tmp_path / group).mkdir()
    (tmp_path / "model" / "own_one.yaml").write_text("defaults: [mmoe]\n")
    (tmp_path / "model" / "own_two.yaml").write_text("defaults: [mmoe]\n")
    jobs = combinations(["model=glob(own_*)", "seed=range(2)", "trainer.epochs=choice(3,4)", "tracker=none"])
    assert len(jobs) == len({tuple(job) for job in jobs}) == 8
    assert jobs[0] == ["model=own_one", "seed=0", "trainer.epochs=3", "tracker=none"]
    assert jobs[-1] == ["model=own_two", "seed=1", "trainer.epochs=4", "tracker=none"]


def test_the_best_is_marked_by_the_direction_of_the_metric(train: Command):
    words = ["model=shared_bottom", "profile.bottom_layers=[4]", "profile.embedding_width=2", *SMALL]
    status, out, err = train("-m", *words, "optimizer.lr=0.001,0.05", "trainer.select=logloss")
    assert status == 0, err
    closing = out[out.rindex("test split  SIMULATED") :]
    for task in ("income", "never_married"):
        found = re.findall(rf"^ +{task} +([\d.]+)([* ]) +([\d.]+)([* ]?)$", closing, re.MULTILINE)
        (auc, best, loss, least), (other_auc, other_best, other_loss, other_least) = found
        assert (best == "*", other_best == "*") == (auc > other_auc, auc < other_auc)
        assert (least == "*", other_least == "*") == (loss < other_loss, loss > other_loss)
