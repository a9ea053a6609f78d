"""The command line as a person meets it: real processes, exit statuses, one short message and no traceback."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from mtlbench.cli import COMMANDS, main
from mtlbench.cli.choices import GROUPS, choices, conf_folder

SMALL = [
    "model=shared_bottom",
    "dataset=census",
    "dataset.source=simulated",
    "dataset.simulator.rows=3000",
    "trainer.epochs=2",
    "trainer.batch_size=256",
    "tracker=none",
]


def mtlbench(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mtlbench", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small finished run in it."""
    folder = tmp_path_factory.mktemp("workplace")
    done = mtlbench("train", *SMALL, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


def only_run(folder: Path) -> Path:
    (run,) = (path.parent for path in (folder / "runs").glob("*/result.json"))
    return run


def test_help_is_immediate_and_imports_nothing_heavy(tmp_path: Path):
    began = time.perf_counter()
    done = mtlbench("--help", folder=tmp_path)
    elapsed = time.perf_counter() - began
    assert done.returncode == 0
    assert all(f"  {command}" in done.stdout for command in COMMANDS)
    assert elapsed < 2, "a start of the interpreter, not of torch"
    code = (
        "import sys, mtlbench.cli as c; c.main(['--help']); "
        "print(sorted({'torch', 'mlflow', 'hydra', 'pandas', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stderr.strip() == "[]"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(tmp_path: Path, command: str):
    done = mtlbench(command, "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage: mtlbench" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_of_train_names_every_choice_of_every_group_and_says_what_it_is(tmp_path: Path):
    text = mtlbench("train", "--help", folder=tmp_path).stdout
    found = 0
    for group in GROUPS:
        assert f"{group}: " in text
        for name, comment in choices(group).items():
            assert comment, f"conf/{group}/{name}.yaml needs a first comment that says what it is"
            assert f"  {name:<22}{comment}" in text
            found += 1
    assert found >= 31
    assert {path.name for path in conf_folder().iterdir() if path.is_dir()} - {"table", "figure"} <= set(GROUPS)


WRONG = [
    ("trian", "no such command: trian (did you mean train?)"),
    ("train model=memo", "model=memo: no such model; did you mean mmoe?"),
    ("train modle=mmoe", "no such group or key: 'modle'. Did you mean 'model'?"),
    ("train trainer.epoch=3", "no such group or key: 'trainer.epoch'. Did you mean 'trainer.epochs'?"),
    ("train +trainer.epoch=3", "keys are neither added nor removed, only set. Did you mean 'trainer.epochs'?"),
    ("train ++trainer.epoch=3", "keys are neither added nor removed, only set. Did you mean 'trainer.epochs'?"),
    ("train ~seed", "keys are neither added nor removed, only set."),
    ("train dephn", "'dephn' is not of the form key=value; did you mean model=dephn?"),
    ("train model.expert=4", "'model.expert'. Did you mean 'model.experts'?"),
    ("train model.experts=abc", "model.experts: 'abc' is not of type int"),
    ("train model.experts=2.5", "model.experts: 2.5 is not of type int"),
    ("train seed=x", "seed: 'x' is not of type int"),
    ("train trainer.epochs=9223372036854775807", "allowed: 1,000,000 at most"),
    ("train trainer.epochs=0", "trainer.epochs is 0; allowed: 1 or more"),
    ("train optimizer.lr=fast", "optimizer.embedding.lr: 'fast' is not of type float"),
    ("train model=dnn virtual_gradient=add_sqrt", "model=dnn has no gates that take it"),
    ("train run.device=cuda:7", "run.device is 'cuda:7', but this machine has"),
    ("train run.device=tpu", "run.device is 'tpu'"),
    ("train dataset.source=reel", "dataset.source: 'reel': input should be 'auto', 'real' or 'simulated'"),
    ("train dataset=census dataset.raw=nowhere", "missing or empty in"),
    ("train dataset=census dataset.source=real", "census-income.data"),
    ("train dataset=aliccp dataset.source=real", "sample_skeleton_train.csv"),
    ("train seed=-1", "seed: -1: input should be greater than or equal to 0"),
    ("train run.threads=0", "run.threads: 0: input should be greater than or equal to 1"),
    ("train dataset.min_count=0", "dataset.min_count: 0: input should be greater than or equal to 1"),
    ("train dataset.raw=2017", "dataset.raw: 2017 is not of type str | None"),
    ("train optimizer.sparse=true", "torch's Adam takes dense gradients only"),
    ("train optimizer.sparse=true optimizer.embedding._target_=torch.optim.AdamW", "does not support sparse gradients"),
    ("train optimizer.embedding.lr=0.0", "optimizer.embedding.lr is 0.0; allowed: above 0"),
    ("train optimizer.lr=0", "optimizer.embedding.lr is 0; allowed: above 0"),
    ("train optimizer.dense.eps=inf", "optimizer.dense.eps: inf is not allowed: numbers are finite"),
    ("train optimizer.dense.eps=0", "optimizer.dense.eps is 0; allowed: above 0, and 1 at most"),
    ("train optimizer.dense.betas=[0.9,1.0]", "optimizer.dense.betas is [0.9, 1.0]; allowed: from 0 to below 1"),
    ("train optimizer.gate=[0.0]", "optimizer.gate is [0.0]; expected a mapping with _target_"),
    ("train optimizer.gate={}", "optimizer.gate is {}; expected a mapping with _target_"),
    (
        "train optimizer.gate={_target_:torch.optim.SGD,_partial_:1.5}",
        "optimizer.gate._partial_: 1.5 is not of type bool",
    ),
    (
        "train optimizer.gate={_target_:torch.optim.SGD,_partial_:true,lr:0.1,maximize:true}",
        "optimizer.gate: a step from 0 along the gradients 1 and 0 leads to 0.1 and 0; expected: downhill",
    ),
    ("train optimizer.gate={_target_:torch.optim.SGD,_partial_:true,lr:0.1,momentum:1.5}", "gate.momentum is 1.5"),
    ("train dataset=criteo dataset.splits=5", "dataset.splits is 5; expected split rules by name"),
    ("train optimizer.dense=5", "optimizer.dense is 5; expected a mapping with _target_"),
    ("train model._partial_=1.5", "_partial_ belongs to the file of the group and cannot be set"),
    ("train profile.embedding_std=nan", "model.embedding_std: nan is not allowed: numbers are finite"),
    (
        "train profile.embedding_std=1e300",
        "model.embedding_std: 1e+300 is not allowed: numbers are finite, and at most",
    ),
    ("train profile.embedding_width=9223372036854775808", "model.embedding_width: 9223372036854775808 is not allowed"),
    ("train profile.experts=${nokey}", "model.experts: "),
    ("train profile.experts=???", "model.experts: "),
    ("train dataset.disjoint=-1", "dataset.disjoint: -1 is not of type list"),
    ("train dataset.tasks=1.5", "dataset.tasks: '1.5' is not of type list[str] | None"),
    ("train dataset.one_class=maybe", "dataset.one_class: 'maybe': input should be 'fail' or 'note'"),
    ("train dataset.simulator=5", "dataset.simulator: 5 is not of type"),
    ("train run.threads=1000000", "run.threads: 1000000: input should be less than or equal to 1024"),
    ("train run=0.5", "run=0.5: run is a group of keys; set one of them, run.<key>=<value>"),
    ("train trainer=[1.5]", "trainer=[1.5]: no such trainer"),
    ("train model=null", "model=None: no such model"),
    ("train seed=0,1", "'seed=0,1' has several values. For one run each: mtlbench train -m seed=0,1"),
    ("train seed=range(3)", "For one run each: mtlbench train -m seed=range(3)"),
    ("train model=mmoe,ple", "'model=mmoe,ple' has several values. For one run each: mtlbench train -m model=mmoe,ple"),
    ("train dataset.tasks=a,b", "for a list: dataset.tasks=[a,b]"),
    ("prepare dataset=census,aliccp", "'dataset=census,aliccp' has several values. Give one"),
    ("train --model=mmoe", "unrecognized arguments: --model=mmoe; did you mean model=mmoe?"),
    ("train --cfg foo", "argument --cfg/-c: invalid choice: 'foo'"),
    ("prepare --dataset=census", "no such option: --dataset=census; did you mean dataset=census?"),
    ("train +optimizer.dense={lr:1}", "keys are neither added nor removed, only set. Write optimizer.dense=<value>."),
    ("train model=dnn model.expert=4", "model=dnn has no key 'model.expert'. Did you mean 'profile.experts'?"),
    ("train model=dnn model.mask_bias=1", "model=dnn has no key 'model.mask_bias'. There are: model.network"),
    ("train -m model=mssm,dnn model.mask_bias=1", "model=dnn has no key 'model.mask_bias'. There are: model.network"),
    ("train trainer.clip=-1", "trainer.clip is -1.0; allowed: above 0, or null"),
    ("train trainer.patience=0", "trainer.patience is 0; allowed: 1 or more, or null"),
    ("train trainer.rows=-5", "trainer.rows is -5; allowed: 1 or more, or null"),
    ("train ~model", "keys are neither added nor removed, only set."),
    ("ui port=abc", "port is 'abc'; allowed: 1 to 65535"),
    ("sync run.folder=nowhere", "there is no folder nowhere"),
    ("train run.tracker=none", "choose it with tracker=mlflow|none"),
    ("train seed=[0", "cannot read 'seed=[0'"),
    ("list modls", "nothing is called 'modls'; did you mean models?"),
    ("evaluate abc", "begins the name of 0 runs"),
    ("show abc", "begins the name of 0 runs"),
    ("evaluate abc splt=test", "unknown 'splt=test'"),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_a_mistake_gets_one_short_message_and_exit_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, message: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets it
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        status = main(line.split())
    captured = capsys.readouterr()
    assert message in captured.err
    assert status == 2
    assert "Traceback" not in captured.err
    assert not list(tmp_path.glob("runs/*/metrics.jsonl"))
    assert not list(tmp_path.glob("data/*")), "refused before anything was written"


def test_a_mistake_in_a_real_process(tmp_path: Path):
    done = mtlbench("train", "model=memo", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"mtlbench: model=memo: no such model; did you mean mmoe? There are: {', '.join(choices('model'))}.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_run_ends_on_a_readable_result(workplace: Path):
    done = mtlbench("train", *SMALL, folder=workplace)
    assert done.returncode == 0
    for words in ("SIMULATED DATA", "AUC", "of a constant", "its ceiling", "rows/s in training", "nothing was trained"):
        assert words in done.stdout
    result = json.loads((only_run(workplace) / "result.json").read_text())
    assert result["origin"] == "simulated"
    assert f"{result['metrics']['test/income/auc']:.4f}" in done.stdout


def test_nothing_but_data_and_runs_is_left_in_the_folder(workplace: Path):
    assert {path.name for path in workplace.iterdir()} == {"data", "runs"}


def test_evaluate_gives_the_runs_own_numbers(workplace: Path):
    run = only_run(workplace)
    done = mtlbench("evaluate", run.name[:6], "predictions=p.parquet", folder=workplace)
    assert done.returncode == 0, done.stderr
    result = json.loads((run / "result.json").read_text())
    assert f"{result['metrics']['test/income/auc']:.4f}" in done.stdout
    import pyarrow.parquet as pq
    from sklearn.metrics import roc_auc_score

    table = pq.read_table(workplace / "p.parquet").to_pydict()
    assert set(table) == {"row", "income", "p_income", "never_married", "p_never_married"}
    assert roc_auc_score(table["income"], table["p_income"]) == pytest.approx(
        result["metrics"]["test/income/auc"], abs=1e-6
    )
    (workplace / "p.parquet").unlink()


def test_list_and_show(workplace: Path):
    run = only_run(workplace)
    assert run.name in mtlbench("list", "runs", folder=workplace).stdout
    assert "finished" in mtlbench("list", "runs", folder=workplace).stdout
    assert "shared_bottom" in mtlbench("list", "models", folder=workplace).stdout
    assert "never_married" in mtlbench("show", run.name, folder=workplace).stdout
    assert "experts: 4" in mtlbench("show", "model=mmoe", folder=workplace).stdout
    shown = mtlbench("show", *SMALL[1:4], folder=workplace).stdout
    assert "SIMULATED DATA" in shown
    assert "embedding table" in shown
    assert "positive for both" in shown


def test_starting_over_gives_the_same_bits(workplace: Path):
    run = only_run(workplace)
    before = json.loads((run / "result.json").read_text())
    assert mtlbench("train", *SMALL, "run.fresh=true", folder=workplace).returncode == 0
    after = json.loads((run / "result.json").read_text())
    assert after["metrics"] == before["metrics"]
    assert after["finished"] != before["finished"] or after["seconds"] != before["seconds"]


def test_auto_warns_that_the_data_are_simulated(tmp_path: Path):
    done = mtlbench("train", *[word for word in SMALL if "source" not in word], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "! SIMULATED DATA: no raw files of 'census'" in done.stderr


def test_a_sweep_goes_on_after_a_failed_run_and_reports_it(tmp_path: Path):
    done = mtlbench("train", "-m", *SMALL, "trainer.batch_size=0,256", "seed=0,1", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("trainer.batch_size is 0") == 3  # each of the two, and at the end
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 2
    assert "model " in done.stdout.splitlines()[-4]


def test_ctrl_c_saves_marks_the_run_and_exits_130_and_the_same_command_goes_on(tmp_path: Path):
    long = [*SMALL[:-3], "trainer.epochs=2000", "trainer.patience=null", "trainer.batch_size=64", "tracker=none"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mtlbench", "train", *long],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/best.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "interrupted; the same command (without run.fresh=true) goes on from here" in stderr
    (run,) = tmp_path.glob("runs/*/status.json")
    assert json.loads(run.read_text())["state"] == "interrupted"
    assert (run.parent / "last.pt").exists()
    assert not (run.parent / "result.json").exists()


def test_completion_knows_commands_groups_choices_and_keys(tmp_path: Path):
    def completed(line: str) -> list[str]:
        return mtlbench("complete", folder=tmp_path, COMP_LINE=line, COMP_POINT=str(len(line))).stdout.split()

    assert completed("mtlbench tr") == ["train"]
    assert "model=" in completed("mtlbench train mod")
    assert "model=mmoe" in completed("mtlbench train model=mm")
    assert "trainer.epochs=" in completed("mtlbench train trainer.epo")
    assert completed("mtlbench doctor x") == []


def test_doctor_says_what_is_there(tmp_path: Path):
    done = mtlbench("doctor", "tracker=none", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    for words in ("torch", "device", "threads", "store", "tracker"):
        assert words in done.stdout


def test_simulate_writes_a_folder_that_train_reads_as_simulated(tmp_path: Path):
    done = mtlbench("simulate", "dataset=census", "rows=3000", "to=made", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "simulated.json").exists()
    again = mtlbench("simulate", "dataset=census", "rows=3000", "to=made", folder=tmp_path)
    assert (again.returncode, "made exists" in again.stderr) == (2, True)
    words = [word for word in SMALL if "source" not in word and "simulator" not in word]
    trained = mtlbench("train", *words, "dataset.raw=made", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "SIMULATED DATA" in trained.stdout


def test_two_processes_do_not_train_the_same_run(tmp_path: Path):
    words = [*SMALL, "trainer.epochs=40", "trainer.patience=null"]
    command = [sys.executable, "-m", "mtlbench", "train", *words]
    both = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]
    ends = [(process.communicate(timeout=240), process.returncode) for process in both]
    codes = sorted(code for _, code in ends)
    assert codes in ([0, 1], [0, 0]), ends  # the second one may come so late that the first has finished
    if codes == [0, 1]:
        assert any("another process is training run" in streams[1] for streams, _ in ends)
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 1


def test_a_sweep_over_processes_prepares_once_and_finishes(tmp_path: Path):
    pytest.importorskip("joblib")
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "run.threads=1", "seed=0,1", *SMALL]
    done = mtlbench("train", "-m", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 2
    assert len(list((tmp_path / "data" / "store" / "census").glob("[!.]*"))) == 1
