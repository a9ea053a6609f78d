"""``mtlbench tune`` and ``tuned=true`` by the user's command, on a few simulated rows of Census."""

import json
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtlbench.cli import main
from mtlbench.tracking.folder import read_facts, read_status

pytest.importorskip("optuna", reason="needs the extra 'tune'")

from mtlbench.tuning import search as searching
from mtlbench.tuning.trials import Record

DATA = ["dataset=census", "dataset.source=simulated", "dataset.simulator.rows=3000"]
SMALL = [
    "trainer.batch_size=256", "trainer.epochs=2", "tracker=none",
    "profile.expert_layers=[4]", "profile.tower_layers=[4]", "profile.embedding_width=2", "profile.experts=2",
]  # fmt: skip
HALVING = ["model=mmoe", "trials=3", "pruner=halving"]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def mtlbench(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """A command on small data in an empty folder: exit status, standard output, standard error."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets it
    monkeypatch.chdir(tmp_path)

    def command(name: str, *words: str) -> tuple[int, str, str]:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            status = main([name, *DATA, *SMALL, f"run.data={data}", *words])
        return status, *capsys.readouterr()

    return command


def summary(model: str = "mmoe", folder: Path = Path()) -> dict[str, Any]:
    return json.loads((folder / f"tuned/census/{model}.json").read_text())


def without_cost(found: dict[str, Any]) -> dict[str, Any]:
    """All that a search found, but for the seconds that it took."""
    trials = [{key: value for key, value in trial.items() if key != "seconds"} for trial in found["trials"]]
    untuned = {**found["untuned"], "seconds": None}
    return {**found, "seconds": None, "untuned": untuned, "best": found["best"]["number"], "trials": trials}


def test_tuning_writes_settings_that_training_uses(mtlbench: Command):
    status, out, err = mtlbench("tune", "model=mmoe,ple", "profile.level_layers=[[4],[4]]", "trials=1", "seed=1")
    assert status == 0, err
    assert "SIMULATED DATA: census" in out
    for model in ("mmoe", "ple"):
        assert [line.split()[-5:-2] for line in out.splitlines() if line.startswith(f"  {model} on census  ")] == [
            ["1", "0", "0"]
        ], "trials, pruned, failed"
        found = summary(model)
        assert found["best"]["score"] == max(found["best_so_far"]) == pytest.approx(found["expected_best"][-1])
        assert f"run {found['best']['run']}" in Path(f"tuned/census/{model}.md").read_text()
    found = summary()
    facts, _ = read_facts(Path("runs") / found["best"]["run"])
    assert facts.tags == {"study": found["study"], "trial": str(found["best"]["number"])}
    tuned = yaml.safe_load(Path("tuned/census/mmoe.yaml").read_text())
    assert (tuned["data"], tuned["run"]) == (facts.data, facts.identity)

    status, out, err = mtlbench("train", "model=mmoe", "tuned=true", "seed=1")
    assert status == 0, err
    assert "already finished; nothing was trained" in out
    assert found["best"]["run"] in out, "the run of the best trial"


def test_the_command_line_is_stronger_than_tuned_settings(mtlbench: Command):
    assert mtlbench("tune", "model=mmoe", "trials=1")[0] == 0
    status, _, err = mtlbench("train", "-m", "model=mmoe", "tuned=true,false", "optimizer.lr=0.007")
    assert status == 0, err
    best = summary()["best"]
    configs = [yaml.safe_load(path.read_text()) for path in Path("runs").glob("*/config.yaml")]
    rates = {(config["tuned"], config["optimizer"]["lr"], config["optimizer"]["gate_lr"]) for config in configs}
    own = dict(word.split("=") for word in best["words"])
    gate_lr = float(own["optimizer.gate_lr"])
    untuned = yaml.safe_load((Path("runs") / summary()["untuned"]["run"] / "config.yaml").read_text())["optimizer"][
        "lr"
    ]
    assert rates == {
        (False, float(own["optimizer.lr"]), gate_lr),
        (True, 0.007, gate_lr),
        (False, 0.007, None),
        (False, untuned, None),
    }


def test_keys_of_a_chosen_optimizer_are_searched(mtlbench: Command):
    words = ["model=dnn", "optimizer=lazy_adam", "profile.deep_layers=[4]", "trials=1", "pruner=none"]
    assert mtlbench("tune", *words)[0] == 0
    tried = {word.partition("=")[0] for word in summary("dnn")["trials"][0]["words"]}
    assert {"optimizer.lr", "optimizer.embedding.lr"} <= tried
    assert "profile.deep_layers" not in tried
    assert {"optimizer=lazy_adam", "profile.deep_layers=[4]"} <= set(summary("dnn")["settings"])


def test_a_search_is_not_done_twice_and_goes_on_with_more_trials(mtlbench: Command):
    assert mtlbench("tune", "model=mmoe", "trials=1")[0] == 0
    before = without_cost(summary())
    began = {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/result.json")}
    assert mtlbench("tune", "model=mmoe", "trials=1")[0] == 0
    assert without_cost(summary()) == before
    assert {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/result.json")} == began
    assert mtlbench("tune", "model=mmoe", "trials=2")[0] == 0
    assert without_cost(summary())["trials"][:1] == before["trials"]
    assert len(list(Path("runs").glob("*/result.json"))) == 3, "the untuned run and two trials"


def test_where_no_trial_is_better_the_untuned_settings_are_kept(mtlbench: Command):
    Path("slow.yaml").write_text("optimizer.lr: {choice: [1.0e-12]}\n")
    base = ["model=mmoe", "optimizer.embedding.lr=0.03", "trainer.epochs=4"]
    status, out, err = mtlbench("tune", *base, "trials=1", "--space=slow.yaml")
    assert status == 0, err
    found = summary()
    untuned, best = found["untuned"], found["best"]
    assert untuned["score"] > best["score"], "or this test says nothing"
    tuned = yaml.safe_load(Path("tuned/census/mmoe.yaml").read_text())
    assert not [word for word in tuned["overrides"] if word.startswith("optimizer.lr=")]
    assert "optimizer.embedding.lr=0.03" in tuned["overrides"], "settings of the command line stay"
    assert (tuned["run"], tuned["score"], tuned["untuned"]) == (untuned["run"], *[untuned["score"]] * 2)
    assert f"best trial minus untuned: {best['score'] - untuned['score']:+.4f}, so tuned=true keeps" in out
    status, out, err = mtlbench("train", "model=mmoe", "tuned=true", "trainer.epochs=4")
    assert status == 0, err
    assert "already finished; nothing was trained" in out
    assert untuned["run"] in out


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[str, Any]:
    """What a search of three trials finds, of which successive halving prunes one."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    where = [f"run.data={data}", f"run.folder={folder / 'runs'}", f"--config-dir={folder}"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        show = warnings.showwarning
        assert main(["tune", *DATA, *SMALL, *HALVING, *where]) == 0
        warnings.showwarning = show
    found = summary(folder=folder)
    pruned = [trial for trial in found["trials"] if trial["state"] == "pruned"]
    assert pruned, "otherwise the tests below say nothing of pruning"
    for trial in pruned:
        run = folder / "runs" / trial["run"]
        assert trial["evaluations"] == 1
        assert not (run / "result.json").exists(), "it was not trained to the end, and not scored on test rows"
        assert read_status(run).reason == f"pruned after 1 evaluations, trial {trial['number']} of a search"
    return without_cost(found)


@pytest.mark.parametrize(
    ("moment", "at"),
    [
        pytest.param("before training", 2, marks=pytest.mark.long),
        ("after an evaluation", 1),
        pytest.param("before it is recorded", 0, marks=pytest.mark.long),
    ],
)
def test_a_search_that_was_interrupted_finds_the_same(
    mtlbench: Command, uninterrupted: dict[str, Any], monkeypatch: pytest.MonkeyPatch, moment: str, at: int
):
    train, add = searching.train, Record.add
    counted = {"trained": 0, "added": 0}

    def interrupted_train(config: Any, **hooks: Any) -> Any:
        counted["trained"] += 1
        if counted["trained"] == at + 1 and moment == "before training":
            raise KeyboardInterrupt
        if counted["trained"] == at + 1 and moment == "after an evaluation":

            def evaluated(folder: Path) -> None:
                raise KeyboardInterrupt

            hooks = {"after_evaluation": evaluated}
        return train(config, **hooks)

    def interrupted_add(self: Record, frozen: Any) -> None:
        counted["added"] += 1
        if counted["added"] == at + 1 and moment == "before it is recorded":
            raise KeyboardInterrupt
        add(self, frozen)

    with monkeypatch.context() as patched:
        patched.setattr(searching, "train", interrupted_train)
        patched.setattr(Record, "add", interrupted_add)
        assert mtlbench("tune", *HALVING)[0] == 130
    assert not Path("tuned").exists()
    status, _, err = mtlbench("tune", *HALVING)
    assert status == 0, err
    assert without_cost(summary()) == uninterrupted


@pytest.mark.long
def test_a_search_that_is_killed_again_and_again_finds_the_same(
    tmp_path: Path, data: Path, uninterrupted: dict[str, Any]
):
    """SIGKILL at random moments, of a process of its own."""
    words = ["tune", *DATA, *SMALL, *HALVING, f"run.data={data}"]
    command, moments = [sys.executable, "-m", "mtlbench", *words], random.Random(0)
    for _ in range(3):
        began = time.time()
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        while process.poll() is None and not written_since(began, tmp_path / "runs"):
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 1.5))
        process.kill()
        process.wait()
    subprocess.run(command, cwd=tmp_path, check=True)
    assert without_cost(summary(folder=tmp_path)) == uninterrupted


def written_since(began: float, runs: Path) -> bool:
    """Whether a run was begun or went on."""
    return any(path.stat().st_mtime > began for path in runs.glob("*/metrics.jsonl"))


def test_trials_that_fail_are_counted_and_said(mtlbench: Command, tmp_path: Path):
    (tmp_path / "rates.yaml").write_text("optimizer.lr: {choice: [1.0e+30, 0.001]}\n")
    status, out, err = mtlbench("tune", "model=mmoe", "trials=3", "--space", "rates.yaml", "sampler=random")
    assert status == 0, err
    found = summary()
    failed = [trial for trial in found["trials"] if trial["words"] == ["optimizer.lr=1e+30"]]
    assert 0 < len(failed) < 3
    assert all(trial["state"] == "failed" and "NonFiniteLossError" in trial["reason"] for trial in failed)
    assert found["best"]["words"] == ["optimizer.lr=0.001"]
    assert f"trial {failed[0]['number']} failed: NonFiniteLossError" in out
    assert len(found["expected_best"]) == 3 - len(failed)


def test_trials_that_all_fail_are_one_error(mtlbench: Command, tmp_path: Path):
    (tmp_path / "rates.yaml").write_text("optimizer.lr: {choice: [1.0e+30]}\n")
    status, out, err = mtlbench("tune", "model=mmoe", "trials=2", "--space=rates.yaml")
    assert (status, out) == (1, "")
    assert "mtlbench: model=mmoe dataset=census: all 2 trials failed: NonFiniteLossError: " in err
    assert not Path("tuned").exists()


@pytest.mark.parametrize(
    ("space", "words", "message"),
    [
        ("model.cell: {choice: [gru]}", [], "model.cell: model=mmoe has no such key"),
        ("profile.cross_depth: {int: [1, 3]}", [], "profile.cross_depth: model=mmoe does not read it"),
        ("trainer.epochs: {int: [1, 3]}", [], "trainer.epochs cannot be tuned"),
        ("dataset.min_count: {int: [1, 3]}", [], "dataset.min_count cannot be tuned"),
        ("optimizer.lr: {log: [0.1, 0.01]}", [], "0.1 is not below 0.01"),
        ("optimizer.lr: {log: [0, 0.01]}", [], "log.0: Input should be greater than 0"),
        ("optimizer.lr: {log: [0.1, 1], uniform: [0.1, 1]}", [], "expected one of log, uniform, int, choice"),
        ("optimizer.lr: {range: [0.1, 1]}", [], "range: Extra inputs are not permitted"),
        ("optimizer.lr: 0.1", [], "Write {log: [low, high]}"),
        ("profile.dropout: {int: [0.1, 1]}", [], "int.0: Input should be a valid integer"),
        ("optimizer.lr: {log: [0.1, 1]}", ["optimizer.lr=0.5"], "no key is left to tune"),
        ("- optimizer.lr", [], "holds a list; expected a mapping"),
        ("optimizer.lr: {log: [0.1, 1]}", ["seed=0,1"], "To search values of seed, list them as {choice: [...]}"),
        ("optimizer.lr: {log: [0.1, 1]}", ["tuned=true"], "a search starts from the settings of the command line"),
        ("optimizer.lr: {log: [0.1, 1]}", ["trials=0"], "invalid value for '--trials'"),
        ("optimizer.lr: {log: [0.1, 1]}", ["--config-dir=nowhere"], "nowhere: no such folder"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_it_begins(
    mtlbench: Command, tmp_path: Path, space: str, words: list[str], message: str
):
    (tmp_path / "space.yaml").write_text(space + "\n")
    status, _, err = mtlbench("tune", "model=mmoe", "--space=space.yaml", *words)
    assert status == 2, err
    assert message in err
    assert not Path("runs").exists()


def test_settings_tuned_on_other_data_are_refused(mtlbench: Command, tmp_path: Path):
    status, _, err = mtlbench("train", "model=mmoe", "tuned=true")
    assert status == 2
    assert f"there is no tuned/census/mmoe.yaml in {tmp_path}, " in err
    assert "`mtlbench tune model=mmoe dataset=census trials=24` writes one" in err
    assert mtlbench("tune", "model=mmoe", "trials=1")[0] == 0
    status, _, err = mtlbench("train", "model=mmoe", "tuned=true", "dataset.simulator.rows=4000")
    assert status == 2
    assert "nothing was tuned on these data, " in err
    assert f", but {tmp_path}/tuned/census/mmoe.yaml on data {summary()['data']}. Tune again" in err

    path = Path("tuned/census/mmoe.yaml")
    written = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**written, "overrides": ["run.folder=/elsewhere"]}))
    status, _, err = mtlbench("train", "model=mmoe", "tuned=true")
    assert (status, "overrides: run.folder=/elsewhere cannot be tuned" in err) == (2, True)
    path.write_text(yaml.safe_dump({**written, "score": "high"}))
    status, _, err = mtlbench("train", "model=mmoe", "tuned=true")
    assert (status, "mmoe.yaml: score: " in err) == (2, True)


def test_each_split_has_its_own_tuned_settings(mtlbench: Command, tmp_path: Path):
    other = ["model=mmoe", "dataset.split_seed=1"]
    assert mtlbench("tune", "model=mmoe", "trials=1")[0] == 0
    first = summary()
    runs = len(list(Path("runs").iterdir()))
    status, _, err = mtlbench("tune", *other, "trials=1")
    assert status == 2
    assert f"{tmp_path}/tuned/census/mmoe.yaml was tuned on data {first['data']}, but these are " in err
    assert f"add --name NAME, which writes {tmp_path}/tuned/census/NAME/mmoe.yaml" in err
    assert (summary(), len(list(Path("runs").iterdir()))) == (first, runs), "refused before anything is trained"

    status, _, err = mtlbench("tune", *other, "trials=1", "--name=second")
    assert status == 0, err
    assert summary() == first
    second = json.loads(Path("tuned/census/second/mmoe.json").read_text())
    assert second["data"] != first["data"]
    for words, found in (["model=mmoe"], first), (other, second):
        status, out, err = mtlbench("train", *words, "tuned=true")
        assert status == 0, err
        assert found["best"]["run"] in out, "the run of the best trial on these data"
    assert mtlbench("tune", *other, "trials=1", "--name=a/b")[0] == 2


def test_a_configuration_folder_of_ones_own_keeps_the_winner(mtlbench: Command, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    status, _, err = mtlbench("tune", "model=mmoe", "trials=1", "--config-dir=mine")
    assert status == 0, err
    assert Path("mine/tuned/census/mmoe.yaml").exists()
    assert not Path("tuned").exists()
    status, out, err = mtlbench("train", "model=mmoe", "tuned=true", "--config-dir=mine")
    assert status == 0, err
    assert "already finished; nothing was trained" in out
    assert mtlbench("train", "model=mmoe", "tuned=true", "--config-dir=mine", "-c", "job")[0] == 2
    assert mtlbench("train", "model=mmoe", "tuned=true")[0] == 2


def test_a_damaged_database_is_an_error_that_names_it(mtlbench: Command):
    Path("runs").mkdir()
    Path("runs/optuna.db").write_bytes(b"no database" * 1000)
    status, _, err = mtlbench("tune", "model=mmoe", "trials=1")
    assert status == 1
    assert "runs/optuna.db cannot be used as the database of studies" in err


def test_without_the_extra_the_command_says_so(mtlbench: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = mtlbench("tune", "model=mmoe", "trials=1")
    assert (status, "pip install 'mtlbench[tune]'" in err) == (2, True)
