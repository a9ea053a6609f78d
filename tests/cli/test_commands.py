"""The command line as a person meets it: real processes, exit statuses, one short message and no traceback."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from mtlbench.cli import COMMANDS, main
from mtlbench.cli.choices import GROUPS, choices
from mtlbench.cli.search_path import conf_folder

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


def typed(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The same in this process, which need not import everything again."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets them
        patch.setattr(sys, "excepthook", sys.excepthook)
        warnings.simplefilter("default", UserWarning)
        code = main(list(words))
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small finished run in it."""
    folder = tmp_path_factory.mktemp("workplace")
    done = typed("train", *SMALL, folder=folder)
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
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert elapsed < 2, "a start of the interpreter, not of torch"
    code = (
        "import contextlib, io, sys, mtlbench.cli as c\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    for command in ('--help', *(f'{name} --help' for name in c.COMMANDS)): c.main(command.split())\n"
        "print(*{'torch', 'mlflow', 'hydra', 'pandas', 'numpy'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(tmp_path: Path, command: str):
    done = typed(command, "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"Usage: mtlbench {command}" in done.stdout
    assert f"  {COMMANDS[command]}\n" in done.stdout
    assert command == "completion" or f"  mtlbench {command} " in done.stdout, "an example"
    assert list(tmp_path.iterdir()) == []


def test_help_of_train_names_every_choice_of_every_group_and_says_what_it_is(tmp_path: Path):
    text = typed("train", "--help", folder=tmp_path).stdout
    found = 0
    for group in GROUPS:
        assert f"{group}: " in text
        for name, comment in choices(group).items():
            assert comment, f"conf/{group}/{name}.yaml needs a first comment that says what it is"
            assert f"  {name:<22}{comment}" in text
            found += 1
    assert found >= 31
    others = {"table", "figure", "space", "speed", "study", "tuned"}
    assert {path.name for path in conf_folder().iterdir() if path.is_dir()} - others <= set(GROUPS)


WRONG = [
    ("trian", "no such command: trian; did you mean train?"),
    ("train model=memo", "model=memo: no such model; did you mean mmoe?"),
    ("train modle=mmoe", "no such group or key: 'modle'. Did you mean 'model'?"),
    ("train trainer.epoch=3", "no such group or key: 'trainer.epoch'. Did you mean 'trainer.epochs'?"),
    ("train optimizer.learning_rate=1", "no such group or key: 'optimizer.learning_rate'. There are: optimizer."),
    ("train trainer.lr=1", "no such group or key: 'trainer.lr'. Did you mean 'optimizer.lr'?"),
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
    ("train model=dnn virtual_gradient=add_sqrt", "model=dnn has no gates that support it"),
    ("train run.device=cuda:7", "run.device is 'cuda:7', but this machine has"),
    ("train run.device=tpu", "run.device is 'tpu'"),
    ("train dataset.source=reel", "dataset.source: 'reel': input should be 'auto', 'real' or 'simulated'"),
    ("train dataset=census dataset.raw=nowhere", "missing or empty in"),
    ("train dataset=census dataset.source=real", "census-income.data"),
    ("train dataset=aliccp dataset.source=real", "sample_skeleton_train.csv"),
    ("train seed=-1", "seed: -1: input should be greater than or equal to 0"),
    ("train run.threads=0", "run.threads: 0: input should be greater than or equal to 1"),
    ("train dataset.min_count=0", "dataset.min_count: 0: input should be greater than or equal to 1"),
    ("train dataset=census dataset.raw=2017", "raw files of 'census' missing or empty in"),
    ("train optimizer.sparse=true", "torch's Adam takes dense gradients only"),
    ("train optimizer.sparse=true optimizer.embedding._target_=torch.optim.AdamW", "does not support sparse gradients"),
    ("train optimizer.embedding.lr=0.0", "optimizer.embedding.lr is 0.0; allowed: above 0"),
    ("train optimizer.lr=0", "optimizer.embedding.lr is 0; allowed: above 0"),
    ("train optimizer.dense.eps=inf", "optimizer.dense.eps: inf is not allowed: numbers must be finite"),
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
        "optimizer.gate: a step from 0 with gradients 1 and 0 leads to 0.1 and 0; expected: below 0",
    ),
    ("train optimizer.gate={_target_:torch.optim.SGD,_partial_:true,lr:0.1,momentum:1.5}", "gate.momentum is 1.5"),
    ("train dataset=criteo dataset.splits=5", "dataset.splits is 5; expected split rules by name"),
    ("train optimizer.dense=5", "optimizer.dense is 5; expected a mapping with _target_"),
    ("train model._partial_=1.5", "_partial_ belongs to the file of the group and cannot be set"),
    ("train profile.embedding_std=nan", "model.embedding_std: nan is not allowed: numbers must be finite"),
    (
        "train profile.embedding_std=1e300",
        "model.embedding_std: 1e+300 is not allowed: numbers must be finite, and at most",
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
    ("train seed=range(3)", "For one run each: mtlbench train -m 'seed=range(3)'"),
    ("train model=mmoe,ple", "'model=mmoe,ple' has several values. For one run each: mtlbench train -m model=mmoe,ple"),
    ("train dataset.tasks=a,b", "for a list: dataset.tasks=[a,b]"),
    ("prepare dataset=census,aliccp", "'dataset=census,aliccp' has several values. Give one"),
    ("train --model=mmoe", "no such option: --model=mmoe; did you mean model=mmoe?"),
    ("train --package", "option '--package' requires an argument. See `mtlbench train --help`"),
    ("train --cfg foo", "invalid value for '-c' / '--cfg': 'foo' is not one of 'job', 'hydra', 'all'"),
    ("prepare --dataset=census", "no such option: --dataset=census; did you mean dataset=census?"),
    ("train +optimizer.dense={lr:1}", "keys are neither added nor removed, only set. Write optimizer.dense=<value>."),
    ("train model=dnn model.expert=4", "model=dnn has no key 'model.expert'. Did you mean 'profile.experts'?"),
    ("train model=dnn model.mask_bias=1", "model=dnn has no key 'model.mask_bias'. There are: model.network"),
    ("train -m model=mssm,dnn model.mask_bias=1", "model=dnn has no key 'model.mask_bias'. There are: model.network"),
    ("train trainer.clip=-1", "trainer.clip is -1.0; allowed: above 0, or null"),
    ("train trainer.patience=0", "trainer.patience is 0; allowed: 1 or more, or null"),
    ("train trainer.rows=-5", "trainer.rows is -5; allowed: 1 or more, or null"),
    ("train ~model", "keys are neither added nor removed, only set."),
    ("ui port=abc", "'--port': 'abc' is not a valid integer"),
    ("sync run.folder=nowhere", "no such folder: nowhere"),
    ("train run.tracker=none", "choose it with tracker=mlflow|none"),
    ("train seed=[0", "cannot read 'seed=[0'"),
    ("list modls", "no group 'modls'; did you mean models?"),
    ("evaluate abc", "0 runs in "),
    ("show abc", "0 runs in "),
    ("evaluate abc splt=test", "unknown 'splt=test'"),
    ("train dataset.raw=[2017]", "dataset.raw: [2017] is not of type str | None"),
    ("evaluate abc valid", "unknown 'valid'; allowed: run.folder=, run.device="),
    ("evaluate abc split valid --predictions x", "unknown 'split'"),
    ("evaluate abc --split vaild", "'vaild' is not one of 'train', 'valid', 'test'"),
    ("evaluate abc split=vaild", "'vaild' is not one of 'train', 'valid', 'test'"),
    ("evaluate abc --predicitons p.parquet", "no such option: --predicitons; did you mean --predictions?"),
    ("evaluate", "missing argument 'RUN'. See `mtlbench evaluate --help`"),
    ("list runs --jsn", "no such option: --jsn; did you mean --json?"),
    ("list runs bogus=1", "no run has a key 'bogus'"),
    ("list runs mmoe", "list runs takes no other group"),
    ("list models --csv", "--sort, --json and --csv apply to `mtlbench list runs` only"),
    ("show model=mmoe --json", "--json applies to runs only"),
    ("list models run.folder=runs", "unknown 'run.folder=runs'; allowed: no overrides"),
    ("list runs models", "list runs takes no other group"),
    (
        "list bogus",
        "no group 'bogus'. Allowed: models, datasets, optimizers, schedulers, virtual_gradients",
    ),
    ("list losss", "no group 'losss'; did you mean losses?"),
    ("show abc --split valid", "no such option: --split"),
    ("show abc valid", "unknown 'valid'"),
    ("prepare censsus", "'censsus' is not of the form key=value"),
    ("sync runs", "'runs' is not of the form key=value"),
    ("doctor --json", "no such option: --json"),
    ("ui --prot 5001", "no such option: --prot; did you mean --port?"),
    ("ui --port 70000", "70000 is not in the range 1<=x<=65535"),
    ("score a b c", "unexpected extra argument"),
    ("report a --form x", "no such option: --form; did you mean --from?"),
    ("export abc --rows 0", "0 is not in the range x>=1"),
    ("reproduce census_mmoe --scale nan", "--scale is nan; allowed: above 0, at most 1"),
    ("reproduce census_mmo --dry-run", "no table or figure 'census_mmo'; did you mean census_mmoe?"),
    ("completion tcsh", "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    ("simulate dataset=census row=9", "no such group or key: 'row'. Did you mean 'rows'?"),
    ("train --multi-run seed=0,1", "no such option: --multi-run; did you mean --multirun?"),
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


def test_a_mistake_is_told_before_torch_is_imported(tmp_path: Path):
    code = "import sys; from mtlbench.cli import main; print(main(['train', 'model=memo']), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"


def test_a_run_ends_on_a_readable_result(workplace: Path):
    done = typed("train", *SMALL, folder=workplace)
    assert done.returncode == 0
    for words in (
        "SIMULATED DATA",
        "AUC",
        "log loss of a constant",
        "AUC ceiling",
        "rows/s in training",
        "nothing was trained",
    ):
        assert words in done.stdout
    result = json.loads((only_run(workplace) / "result.json").read_text())
    assert result["origin"] == "simulated"
    assert f"{result['metrics']['test/income/auc']:.4f}" in done.stdout


def test_nothing_but_data_and_runs_is_left_in_the_folder(workplace: Path):
    assert {path.name for path in workplace.iterdir()} == {"data", "runs"}


def test_evaluate_gives_the_runs_own_numbers(workplace: Path):
    run = only_run(workplace)
    done = typed("evaluate", run.name[:6], "predictions=p.parquet", folder=workplace)
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
    assert run.name in typed("list", "runs", folder=workplace).stdout
    assert "finished" in typed("list", "runs", folder=workplace).stdout
    assert "shared_bottom" in typed("list", "models", folder=workplace).stdout
    assert "never_married" in typed("show", run.name, folder=workplace).stdout
    assert "experts: 4" in typed("show", "model=mmoe", folder=workplace).stdout
    shown = typed("show", *SMALL[1:4], folder=workplace).stdout
    assert "SIMULATED DATA" in shown
    assert "embedding table" in shown
    assert "positive for both" in shown


def test_runs_are_listed_and_shown_without_torch(workplace: Path):
    heavy = {"torch", "mlflow", "hydra", "omegaconf", "pandas", "numpy", "matplotlib", "sklearn"}
    for words in (
        ["list", "runs"],
        ["list", "runs", "run.folder=runs"],
        ["show", only_run(workplace).name],
        ["list", "datasets", "tables"],
    ):
        code = f"import sys; from mtlbench.cli import main; main({words}); print('slow:', *{heavy} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1].split() == ["slow:"], words
        assert len(done.stdout.splitlines()) > 3


HEAVY = {"torch._dynamo", "scipy.stats", "scipy.optimize", "pandas", "mlflow", "matplotlib", "sklearn", "sqlalchemy"}
"""Packages of up to two seconds: torch's compiler by ``torch.compiler.disable``, with which blocks are decorated."""


@pytest.mark.parametrize(
    ("words", "others"),
    [
        (["doctor"], {"pyarrow"}),
        (["reproduce", "dephn_section4c", "--dry-run"], {"torch"}),  # relabelled data among them
        (["reproduce", "mssm_fig3", "--dry-run"], {"torch"}),
    ],
)
def test_doctor_and_planning_do_not_wait_for_what_trains_and_tests(tmp_path: Path, words: list[str], others: set[str]):
    code = (
        "import sys, warnings; from mtlbench.cli import main; warnings.simplefilter('ignore')\n"
        f"main({words}); print('slow:', *{HEAVY | others} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["slow:"]
    assert words == ["doctor"] or "runs are missing" in done.stderr


@pytest.mark.parametrize("own_process", [True, False])
def test_a_run_on_a_store_imports_no_pandas_and_freezes_its_imports_in_a_process_of_its_own(
    workplace: Path, tmp_path: Path, own_process: bool
):
    """Elsewhere, freezing would keep the user's garbage for ever."""
    words = ["train", *SMALL, "trainer.steps=1", f"run.folder={tmp_path}"]
    code = (
        f"import gc, sys; from mtlbench.cli import main; sys.argv = ['mtlbench', *{words}]\n"
        f"main({'' if own_process else words})\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 100_000, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["True", str(own_process), "False"]


def test_tables_and_figures_are_read_without_torch():
    """The function that draws a figure is checked when the figure is read; it imports torch when it draws."""
    code = (
        "import sys; from mtlbench.cli.choices import choices; from mtlbench.cli.reproduce import read_study\n"
        "print(len([read_study(name) for kind in ('table', 'figure') for name in choices(kind)]))\n"
        f"print('slow:', *{HEAVY | {'torch'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    read, slow = done.stdout.splitlines()
    assert int(read) >= 25
    assert slow.split() == ["slow:"]


@pytest.mark.parametrize("words", [["split=valid"], ["--split", "valid"], ["--split=valid", "run.folder='runs'"]])
def test_evaluate_scores_the_split_that_is_asked_for(workplace: Path, words: list[str]):
    name = only_run(workplace).name
    done = typed("evaluate", name, *words, "--predictions", "of=valid (1).parquet", folder=workplace)
    assert done.returncode == 0, done.stderr
    assert "valid split" in done.stdout
    assert "predictions in of=valid (1).parquet" in done.stdout
    assert (workplace / "of=valid (1).parquet").exists()
    (workplace / "of=valid (1).parquet").unlink()


def test_starting_over_gives_the_same_bits(workplace: Path):
    run = only_run(workplace)
    before = json.loads((run / "result.json").read_text())
    assert typed("train", *SMALL, "run.fresh=true", folder=workplace).returncode == 0
    after = json.loads((run / "result.json").read_text())
    assert after["metrics"] == before["metrics"]
    assert after["finished"] != before["finished"] or after["seconds"] != before["seconds"]


def test_auto_warns_that_the_data_are_simulated(tmp_path: Path):
    done = typed("train", *[word for word in SMALL if "source" not in word], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "! SIMULATED DATA: no raw files of 'census'" in done.stderr


def test_a_sweep_goes_on_after_a_failed_run_and_reports_it(tmp_path: Path):
    done = typed("train", "-m", *SMALL, "trainer.batch_size=0,256", "seed=0,1", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("trainer.batch_size is 0") == 4  # each of the two, and again at the end
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 2
    text = done.stdout[done.stdout.index("test split  SIMULATED DATA: census") :]
    assert "seeds 0 of 2" in text
    assert text.count("failed") == 2, "a cell for each task"


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
    assert "interrupted; the same command (without run.fresh=true) resumes from here" in stderr
    (run,) = tmp_path.glob("runs/*/status.json")
    assert json.loads(run.read_text())["state"] == "interrupted"
    assert (run.parent / "last.pt").exists()
    assert not (run.parent / "result.json").exists()


def test_doctor_says_what_is_there(tmp_path: Path):
    done = typed("doctor", "tracker=none", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    for words in ("torch", "device", "threads", "store", "tracker"):
        assert words in done.stdout
    said = re.search(r"fp32 ([\d,]+), bf16 ([\d,]+) GFLOP/s: trainer.precision=(fp32|bf16) is faster", done.stdout)
    assert said is not None, done.stdout
    fp32, bf16 = (int(said[at].replace(",", "")) for at in (1, 2))
    assert fp32 >= bf16 if said[3] == "fp32" else bf16 >= fp32


def test_simulate_writes_a_folder_that_train_reads_as_simulated(tmp_path: Path):
    done = typed("simulate", "dataset=census", "rows=3000", "to=made", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "simulated.json").exists()
    again = typed("simulate", "dataset=census", "rows=3000", "to=made", folder=tmp_path)
    assert (again.returncode, "made exists" in again.stderr) == (2, True)
    words = [word for word in SMALL if "source" not in word and "simulator" not in word]
    trained = typed("train", *words, "dataset.raw=made", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "SIMULATED DATA" in trained.stdout


def test_a_path_is_read_as_it_is_written_by_every_command(tmp_path: Path):
    """Paths with signs of Hydra's grammar; in quotes or not, and in the command that `simulate` prints."""
    runs, raw = "runs of/day=3, it's (old)", "raw=1 [x]"
    made = typed("simulate", "dataset=census", "rows=3000", f"to={raw}", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    pasted = shlex.split(made.stdout.splitlines()[-1].removeprefix("use it: "))
    assert pasted == ["mtlbench", "train", "dataset=census", f"dataset.raw={raw}"]
    words = [word for word in SMALL if "source" not in word and "simulator" not in word]
    trained = typed(*pasted[1:], *words, f"run.folder={runs}", "run.data='my data'", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "my data" / "store").is_dir()
    (name,) = (path.parent.name for path in (tmp_path / runs).glob("*/result.json"))
    for command in (["list", "runs"], ["show", name], ["evaluate", name], ["sync", "tracker=none"]):
        for quote in ("", '"'):
            done = typed(*command, f"run.folder={quote}{runs}{quote}", folder=tmp_path)
            assert "census" in done.stdout or "tracker=none sends nothing" in done.stderr, command
    listed = typed("list", "runs", "run.folder=2017", folder=tmp_path)
    assert listed.stdout == "no runs in 2017; `mtlbench train` starts one\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_of_that_shell(tmp_path: Path, shell: str):
    done = typed("completion", shell, folder=tmp_path)
    assert done.returncode == 0
    assert f"_MTLBENCH_COMPLETE={shell}_complete" in done.stdout


def test_two_processes_do_not_train_the_same_run(tmp_path: Path):
    words = ["train", *SMALL, "trainer.epochs=2000", "trainer.patience=null"]
    other = subprocess.Popen([sys.executable, "-m", "mtlbench", *words], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/*/best.pt")) and time.monotonic() < deadline:
            time.sleep(0.05)
        done = typed(*words, folder=tmp_path)
    finally:
        other.kill()
        other.wait()
    assert done.returncode == 1
    assert "another process is training run" in done.stderr
    assert not list(tmp_path.glob("runs/*/result.json"))


def test_a_sweep_over_processes_prepares_once_and_finishes(tmp_path: Path):
    loky = pytest.importorskip("joblib").externals.loky
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1", *SMALL, "trainer.batch_size=256,0"]
    done = typed("train", "-m", *words, folder=tmp_path)
    loky.get_reusable_executor().shutdown(wait=True)
    assert done.returncode == 2, done.stderr
    assert "failed: trainer.batch_size=0, census, seed 1: trainer.batch_size is 0" in done.stderr.splitlines()[-1]
    assert done.stdout.count("shared_bottom on census, seed ") == 2, "each run is printed"
    text = done.stdout[done.stdout.index("test split  SIMULATED DATA: census") :]
    assert "trainer.batch_size=256 (seeds 2, converged no, rows/s" in text
    assert "trainer.batch_size=0 (seeds 0 of 2)" in text
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 2
    assert len(list((tmp_path / "data" / "store" / "census").glob("[!.]*"))) == 1
