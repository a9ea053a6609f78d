"""Processes that work together: who takes part, what they answer, and how they end."""

import os
import signal
import subprocess
import sys
import time
import weakref
from importlib import import_module
from pathlib import Path

import psutil
import pytest

from mtlbench.allowed import ALLOW, CONF
from mtlbench.ingest.workers import parallel_map

SECONDS = 60.0
"""After which a process counts as hanging."""

SCRIPT = """
from pathlib import Path

from mtlbench.cli.compose import compose
from mtlbench.experiment.data import open_or_prepare, resolve_data
from mtlbench.ingest import prepare

prepare.SMALL_BYTES = 0
prepare.cores = lambda: 2
print("began")
words = ["dataset=aliccp", "dataset.source=simulated", "dataset.simulator.rows=3000"]
store = open_or_prepare(resolve_data(compose(words).dataset, Path("data")))
print(sum(split["rows"] for split in store.manifest["splits"].values()))
"""


def here() -> bool:
    """Whether this is the process that asked, of which helpers are children."""
    return os.environ["MTLBENCH_TEST_PARENT"] == str(os.getpid())


def wait_for(path: Path) -> None:
    end = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.01)


def shared(path: Path) -> int:
    """Takes until a helper has taken the other job."""
    if here():
        wait_for(path)
    else:
        path.touch()
    return os.getsid(0)


def fail(path: Path) -> int:
    session = shared(path)
    if not here():
        raise FileNotFoundError(2, "a shard is missing", "x")
    return session


def die(path: Path) -> int:
    session = shared(path)
    if not here():
        os.kill(os.getpid(), signal.SIGKILL)
    return session


def fail_from_three(number: int) -> int:
    time.sleep(0.001)
    if number >= 3:
        raise ValueError(f"job {number}")
    return -number


class TwoPartError(Exception):
    """Cannot be pickled, as many errors with a constructor of their own."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


def fail_in_two_parts(path: Path) -> int:
    session = shared(path)
    if not here():
        raise TwoPartError("a bad line", "a file")
    return session


class Result:
    def __init__(self, _: int) -> None:
        pass


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTLBENCH_TEST_PARENT", str(os.getpid()))
    return tmp_path / "taken"


def test_results_come_in_the_order_of_jobs() -> None:
    assert list(parallel_map(str, range(500), 3, "")) == [str(number) for number in range(500)]
    assert list(parallel_map(str, [], 3, "")) == []


def test_the_first_error_in_the_order_of_jobs_is_raised() -> None:
    results = parallel_map(fail_from_three, range(200), 3, "")
    assert [next(results) for _ in range(3)] == [0, -1, -2]
    with pytest.raises(ValueError, match=r"^job 3$"):
        next(results)


def test_this_process_works_too_and_a_helper_hears_no_ctrl_c(token: Path) -> None:
    """A terminal sends it to the processes of its own session."""
    ours, theirs = parallel_map(shared, [token, token], 2, "")
    assert ours == os.getsid(0) != theirs


def test_an_error_of_a_helper_is_raised_as_it_is(token: Path) -> None:
    with pytest.raises(FileNotFoundError, match="a shard is missing") as raised:
        list(parallel_map(fail, [token, token], 2, ""))
    assert "in fail\n" in raised.value.__notes__[0]


def test_an_error_that_cannot_be_pickled_is_told(token: Path) -> None:
    with pytest.raises(RuntimeError, match="TwoPartError: a bad line in a file"):
        list(parallel_map(fail_in_two_parts, [token, token], 2, ""))


def test_results_that_were_read_are_not_kept() -> None:
    """Counts of values may take megabytes per chunk."""
    results = parallel_map(Result, range(3), 1, "")
    first = weakref.ref(next(results))
    next(results)
    assert first() is None


def test_a_killed_helper_is_an_error(token: Path) -> None:
    with pytest.raises(OSError, match="most likely because memory ran out"):
        list(parallel_map(die, [token, token], 2, ""))


def test_no_helper_outlives_its_map() -> None:
    before = psutil.Process().children()
    results = parallel_map(fail_from_three, range(200), 3, "")
    next(results)
    assert len(psutil.Process().children()) == len(before) + 2
    results.close()
    assert psutil.Process().children() == before


def test_a_helper_ends_with_its_parent() -> None:
    """Even in the middle of a job, and when the parent cannot end it."""
    code = (
        "import sys, time; from mtlbench.ingest.workers import parallel_map; "
        "list(parallel_map(time.sleep, [600, 600], 2, ''))"
    )
    parent = psutil.Popen([sys.executable, "-c", code])
    try:
        end = time.monotonic() + SECONDS
        while not (helpers := parent.children()):
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(1)
    finally:
        parent.kill()
        parent.wait()
    assert psutil.wait_procs(helpers, SECONDS)[1] == []


def test_a_script_without_a_guard_prepares_its_data(tmp_path: Path) -> None:
    """Processes that import it anew would wait for the store that it prepares."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.stdout.split() == ["began", "3750"], done.stderr


def test_work_of_the_main_module_is_done_here(tmp_path: Path) -> None:
    """A reader of a script or a notebook: helpers do not import it."""
    (tmp_path / "script.py").write_text(
        "import os\nfrom mtlbench.ingest.workers import parallel_map\n"
        "def work(job):\n    return os.getpid()\n"
        "print(set(parallel_map(work, range(9), 2, '')) == {os.getpid()})\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.stdout == "True\n", done.stderr


def test_a_helper_finds_code_in_a_configuration_folder(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on no import path, see `mtlbench.allowed`."""
    (token.parent / "own_reader.py").write_text(f"from {__name__} import shared\ndef work(path): return shared(path)\n")
    monkeypatch.setenv(ALLOW, "own_reader")
    monkeypatch.setenv(CONF, str(token.parent))
    assert len(list(parallel_map(import_module("own_reader").work, [token, token], 2, ""))) == 2
    del sys.modules["own_reader"]


def test_what_parses_files_loads_no_scipy() -> None:
    """Every process of a pool would wait for it; simulators load it when they draw."""
    code = (
        "import importlib, pkgutil, sys, mtlbench.datasets as all\n"
        "for found in pkgutil.iter_modules(all.__path__, 'mtlbench.datasets.'):\n"
        "    if found.ispkg: importlib.import_module(found.name + '.dataset')\n"
        "print(*{'scipy', 'torch', 'sklearn'} & set(sys.modules), sum('.dataset' in name for name in sys.modules))"
    )
    *loaded, readers = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == []
    assert int(readers) > 5
