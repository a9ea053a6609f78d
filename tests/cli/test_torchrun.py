"""``mtlbench train`` under torchrun: the numbers of one process, one message when it fails, and resuming."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
import pytest

from mtlbench.cli import main
from mtlbench.result import Result
from mtlbench.tracking.folder import read_facts, read_result, read_status
from mtlbench.tracking.journal import Journal

SRC = Path(__file__).parents[2] / "src"
SECONDS = 300
"""After which a job counts as hanging; it takes some 20 on a free machine."""

SHARDED = "run.shard_tables=true"
ADAFACTOR = "optimizer=sgd optimizer.sparse=false optimizer.embedding._target_=torch.optim.Adafactor"
ODD = """
import os, runpy, shlex, sys, time, types
from mtlbench.train import loop
from mtlbench.train.step import Step

if os.environ["RANK"] == os.environ.get("ODD_RANK", "1"):
    sys.argv += shlex.split(os.environ.get("ODD_WORDS", ""))
    if "ODD_STEP" in os.environ:
        steps, step = [0], Step.__call__

        def failing(self, batch, compare):
            steps[0] += 1
            if steps[0] == int(os.environ["ODD_STEP"]):
                raise ValueError("the sensor is off")
            return step(self, batch, compare)

        Step.__call__ = failing
    if "ODD_CLOCK" in os.environ:
        loop.time = types.SimpleNamespace(
            monotonic=lambda: float(os.environ["ODD_CLOCK"]) * time.monotonic(), perf_counter=time.perf_counter
        )
runpy.run_module("mtlbench", run_name="__main__", alter_sys=False)
"""
"""mtlbench, where one rank has words of its own, fails in a step, or has a clock that is fast."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torchrun")


def words(folder: Path, runs: str, *more: str) -> list[str]:
    return [
        "train", "model=mmoe", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=3000",
        "trainer.epochs=3", "trainer.batch_size=127", "optimizer=lazy_adam", "tracker=none", f"run.data={folder}",
        f"run.folder={folder / runs}", *more,
    ]  # fmt: skip


def run_of(folder: Path, runs: str) -> Path:
    (found,) = (path.parent for path in (folder / runs).glob("*/run.json"))
    return found


@contextmanager
def started(folder: Path, count: int, arguments: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    (folder / "odd.py").write_text(ODD)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TORCHELASTIC")}
    path = os.pathsep.join([str(SRC), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={count}",
            "odd.py",
            *arguments,
        ],
        cwd=folder,
        env={**inherited, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            child.kill()
        process.kill()


def job(folder: Path, count: int, arguments: list[str], **environment: str) -> tuple[int, str, list[str]]:
    """Exit status, what was printed, and the messages of mtlbench."""
    with started(folder, count, arguments, **environment) as process:
        return ended(process)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, [line for line in err.splitlines() if line.startswith("mtlbench: ")]


def ranks_of(process: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    children = psutil.Process(process.pid).children()
    return {int(child.environ()["RANK"]): child for child in children if "RANK" in child.environ()}


@pytest.fixture(scope="module")
def alone(folder: Path) -> Result:
    """The run of one process."""
    assert main(words(folder, "alone")) == 0
    return read_result(run_of(folder, "alone"))


def same(one: Result, other: Result) -> None:
    assert one.steps == other.steps
    assert one.best_step == other.best_step
    assert other.metrics == pytest.approx(one.metrics, abs=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_are_one_run_with_its_numbers(folder: Path, alone: Result, count: int):
    runs = f"ranks{count}"
    code, out, messages = job(folder, count, words(folder, runs))
    assert (code, messages) == (0, [])
    assert out.count("mmoe on census") == 1
    run = run_of(folder, runs)
    same(alone, read_result(run))
    assert run.name == alone.identity
    assert read_facts(run)[0].ranks == str(count)
    assert read_status(run).state == "finished"
    ours, theirs = (Journal(path).read() for path in (run, run_of(folder, "alone")))
    assert [(line.step, line.values.keys()) for line in ours] == [(line.step, line.values.keys()) for line in theirs]
    code, out, messages = job(folder, count, words(folder, runs))  # it is there already
    assert (code, messages, out.count("mmoe on census")) == (0, [], 1)


@pytest.mark.long
def test_sharded_tables_are_the_same_run_which_one_process_reads(
    folder: Path, alone: Result, capsys: pytest.CaptureFixture[str]
):
    code, _, messages = job(folder, 2, words(folder, "sharded", SHARDED))
    assert (code, messages) == (0, [])
    run = run_of(folder, "sharded")
    same(alone, result := read_result(run))
    assert (run.name, result.parameters) == (alone.identity, alone.parameters)
    assert main(["evaluate", str(run)]) == 0  # compares the metrics with those that were recorded
    assert main(["export", str(run), "--no-onnx", "--to", str(folder / "exported")]) == 0
    (part,) = run.glob("best.*.1of2.pt")
    part.unlink()
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 2
    assert f"has the rows of its tables in 2 files, of which {part.name} is missing" in capsys.readouterr().err


@pytest.mark.parametrize("more", [pytest.param((), marks=pytest.mark.long), (SHARDED,)], ids=["whole", "sharded"])
def test_ranks_whose_clocks_differ_save_checkpoints_at_the_same_step(
    folder: Path, alone: Result, more: tuple[str, ...]
):
    """Rank 1 is due at almost every step, rank 0 at none; they waited for each other in different collectives."""
    runs = f"clocks{len(more)}"
    assert job(folder, 2, words(folder, runs, "trainer.checkpoint_minutes=5", *more), ODD_CLOCK="1e5")[0] == 0
    same(alone, read_result(run_of(folder, runs)))


@pytest.mark.long
@pytest.mark.parametrize("more", [(), (SHARDED,)], ids=["whole", "sharded"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_killed_rank_ends_the_job_and_it_goes_on_with_any_number(
    folder: Path, alone: Result, count: int, more: tuple[str, ...]
):
    runs = f"killed{count}{len(more)}"
    arguments = words(folder, runs, "trainer.checkpoint_minutes=0.002", *more)
    with started(folder, 2, arguments) as process:
        while not list((folder / runs).glob("*/last.pt")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(random.uniform(0, 0.5))
        victim = random.choice([0, 1])
        ranks_of(process)[victim].send_signal(signal.SIGKILL)
        began = time.monotonic()
        code, _, messages = ended(process)
    assert code == 1
    assert time.monotonic() - began < 60  # a few seconds on a free machine
    assert len(messages) == 1
    assert f"rank {victim} (process " in messages[0]
    assert "The same command resumes from the last checkpoint" in messages[0]
    assert read_status(run_of(folder, runs)).state == "interrupted"
    if count == 1:
        assert main(arguments) == 0
    else:
        assert job(folder, count, arguments)[0] == 0
    same(alone, read_result(run_of(folder, runs)))
    assert read_facts(run_of(folder, runs))[0].ranks == ("2" if count == 2 else f"2 then {count}")


@pytest.mark.long
def test_a_rank_that_fails_says_why_for_all(folder: Path):
    code, _, messages = job(folder, 2, words(folder, "failed"), ODD_STEP="5")
    assert code == 1
    assert messages == ["mtlbench: the sensor is off"]
    status = read_status(run_of(folder, "failed"))
    assert (status.state, status.reason) == ("failed", "rank 1: the sensor is off")


@pytest.mark.long
@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ("model.experts=3", "differ in model.experts: rank 0 has '4', rank 1 has '3'"),
        ("dataset.simulator.rows=3001", "differ in dataset.simulator.rows"),
        ("run.folder=elsewhere", "the content of the run folder"),
        ("model.nonsense=3", "has no key 'model.nonsense'"),
    ],
)
def test_ranks_that_mean_different_runs_are_refused(folder: Path, odd: str, expected: str):
    code, out, messages = job(folder, 2, words(folder, "different"), ODD_WORDS=odd)
    assert (code, out) == (1, "")
    assert len(messages) == 1
    assert expected in messages[0]


@pytest.mark.long
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("trainer.batch_size=2", "a batch of this run has 2 rows, fewer than the 3 processes"),
        (
            f"{SHARDED} {ADAFACTOR}",
            "run.shard_tables=true needs an optimizer that updates each row of a table independently",
        ),
    ],
)
def test_what_several_processes_cannot_do_is_refused(folder: Path, word: str, expected: str):
    _, _, messages = job(folder, 3, words(folder, "refused", *word.split()))
    assert len(messages) == 1
    assert expected in messages[0]


@pytest.mark.long
def test_compiled_models(folder: Path, alone: Result):
    code, _, messages = job(folder, 2, words(folder, "compiled", "trainer.compile=true"))
    assert (code, messages) == (0, [])
    same(alone, read_result(run_of(folder, "compiled")))


@pytest.mark.long
def test_termination_leaves_a_checkpoint(folder: Path, alone: Result):
    arguments = words(folder, "terminated")
    with started(folder, 2, arguments) as process:
        while not list((folder / "terminated").glob("*/last.pt")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, _, messages = ended(process)
    assert messages == ["mtlbench: interrupted; the same command (without run.fresh=true) resumes from here"]
    assert read_status(run_of(folder, "terminated")).state == "interrupted"
    assert job(folder, 2, arguments)[0] == 0
    same(alone, read_result(run_of(folder, "terminated")))


def test_other_commands_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for key, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "RANK": "0"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("mtlbench.distributed.ranks.job_joined", nullcontext)
    for arguments, expected in {
        ("tune", "model=mmoe"): "Start it without torchrun: each of its trials is a run of one process",
        ("reproduce", "census_mmoe"): "Start it without torchrun: each of its runs is one process",
        ("list",): "several processes of `mtlbench list`, which runs as a single process. Start it without torchrun",
        ("train", "-m", "seed=1,2"): "Start each run of the sweep with its own torchrun",
    }.items():
        assert main([*arguments]) == 2
        assert expected in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")  # the other ranks say nothing
    assert main(["tune", "model=mmoe"]) == 1
    assert capsys.readouterr() == ("", "")


def test_one_process_of_torchrun_is_no_job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for key, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "RANK": "0"}.items():
        monkeypatch.setenv(key, value)
    assert main(["list", "models"]) == 0
    assert json.dumps(capsys.readouterr().out).count("mmoe")
