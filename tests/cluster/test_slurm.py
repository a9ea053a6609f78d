"""Sweeps and tables as jobs of a real Slurm, by the user's commands: the numbers of serial runs, whatever ends a job.

Needs root and Slurm's daemons (see `cluster.slurm`); each job takes seconds to import, so all of these are long tests.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cluster.slurm import NODE, PARTITION, Slurm, missing, slurm
from faults.command import start, succeeds
from mtlbench.cli import main

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(missing() is not None, reason=f"no Slurm: {missing()}"),
    pytest.mark.xdist_group("slurm"),
]

RUN = [
    "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=9000", "trainer.batch_size=64",
    "trainer.patience=null", "trainer.checkpoint_minutes=0.003", "run.threads=1", "tracker=none",
    "profile.embedding_width=4", "profile.expert_layers=[8]", "profile.experts=2",
]  # fmt: skip
SLURM = ["hydra/launcher=submitit_slurm", f"hydra.launcher.partition={PARTITION}", "hydra.launcher.cpus_per_task=1"]
LONG_RUN = ["train", "-m", "model=dephn", "trainer.epochs=6", *RUN]
"""A run that takes some 10 seconds, alone on a machine of two cores; its jobs start within 5."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with TemporaryDirectory(prefix="slurm") as folder, slurm(Path(folder)) as started:
        os.environ |= started.environment
        yield started


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The metrics of the long run, trained without a job and without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder, LONG_RUN)
    succeeds(process)
    return metrics(folder)[0]


def metrics(folder: Path) -> list[dict[str, float]]:
    """Of all finished runs, in the order of their seeds."""
    results = [json.loads(path.read_text()) for path in folder.glob("runs/*/result.json")]
    return [result["metrics"] for result in sorted(results, key=lambda each: (each["model"], each["seed"]))]


def lines(folder: Path) -> int:
    return sum(path.read_text().count("\n") for path in folder.glob("runs/*/metrics.jsonl"))


def wait_for(happened: Callable[[], object], alive: Callable[[], object] = lambda: True) -> None:
    end = time.monotonic() + 240
    while not happened():
        assert alive()
        assert time.monotonic() < end, "did not happen within four minutes"
        time.sleep(0.2)


def in_training(cluster: Slurm, folder: Path, words: Sequence[str]) -> tuple[subprocess.Popen[str], str]:
    """The command, and the id of its one job, which has trained for some steps."""
    process = start(folder, [*words, *SLURM])
    wait_for(lambda: lines(folder) > 3, lambda: process.poll() is None)
    (job,) = cluster.running()
    return process, job


def test_a_sweep_gives_the_numbers_of_serial_runs(
    cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "-m", "model=shared_bottom,mmoe", "seed=0,1", "trainer.epochs=1", *RUN]
    for name, launcher in (("serial", []), ("jobs", SLURM)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert main([*words, *launcher]) == 0
    assert len(metrics(tmp_path / "serial")) == 4
    assert metrics(tmp_path / "jobs") == metrics(tmp_path / "serial")
    stores = [path for path in (tmp_path / "jobs" / "data" / "store" / "census").iterdir() if path.name[0] != "."]
    assert len(stores) == 1, "prepared once, for all jobs"


def test_a_table_gives_the_numbers_of_serial_runs(
    cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(
        "title: a study\nseeds: 2\ndatasets: {Census: [dataset=census]}\ncolumns: [{metric: auc, tasks: [income]}]\n"
        "rows: [{label: MMoE, overrides: [model=mmoe]}, {label: DNN, overrides: [model=dnn]}]\n"
    )
    for name, launcher in (("serial", []), ("jobs", SLURM)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert main(["reproduce", str(study), "trainer.epochs=1", *RUN[1:], *launcher]) == 0
    assert len(metrics(tmp_path / "serial")) == 4
    assert metrics(tmp_path / "jobs") == metrics(tmp_path / "serial")


def test_a_cancelled_job_is_told_and_the_same_command_goes_on(
    cluster: Slurm, tmp_path: Path, whole: dict[str, float]
) -> None:
    process, job = in_training(cluster, tmp_path, LONG_RUN)
    cluster.ask("scancel", job)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "its job ended without a result (state CANCELLED" in errors
    assert not metrics(tmp_path)
    again = start(tmp_path, [*LONG_RUN, *SLURM])
    succeeds(again)
    assert metrics(tmp_path) == [whole]


def test_a_job_goes_on_after_its_time_limit(cluster: Slurm, tmp_path: Path, whole: dict[str, float]) -> None:
    process, job = in_training(cluster, tmp_path, [*LONG_RUN, "trainer.checkpoint_minutes=60"])
    cluster.ask("scancel", "--signal=USR2", job)  # what Slurm itself sends near the limit, which is a minute or more
    wait_for(lambda: cluster.release() or metrics(tmp_path))
    succeeds(process)
    assert metrics(tmp_path) == [whole]
    log = "".join(path.read_text() for path in tmp_path.glob("runs/.submitit/*/*_log.out"))
    assert "Requeued job" in log


def test_a_job_goes_on_after_its_node_was_down(cluster: Slurm, tmp_path: Path, whole: dict[str, float]) -> None:
    process, job = in_training(cluster, tmp_path, LONG_RUN)
    cluster.ask("scontrol", "update", f"nodename={NODE}", "state=down", "reason=a test")
    # Slurm itself starts the job two minutes later; a test that hurries it must see the old one end first.
    old = ["pgrep", "-f", rf"slurmstepd: \[{job}\."]
    wait_for(lambda: subprocess.run(old, stdout=subprocess.DEVNULL, check=False).returncode)
    wait_for(lambda: cluster.release() or metrics(tmp_path))
    _, errors = process.communicate()
    # The command asks for states once a minute: it may see the failure before the job runs again.
    assert process.returncode == 0 or "ended without a result (state NODE_FAIL" in errors, errors
    again = start(tmp_path, [*LONG_RUN, *SLURM])
    succeeds(again)
    assert metrics(tmp_path) == [whole]


def test_an_unknown_partition_is_told(cluster: Slurm, tmp_path: Path) -> None:
    process = start(tmp_path, [*LONG_RUN, *SLURM, "hydra.launcher.partition=nowhere"])
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "no job could be submitted" in errors
    assert "invalid partition specified: nowhere" in errors
    assert "Traceback" not in errors
