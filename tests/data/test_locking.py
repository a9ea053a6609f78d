"""A lock excludes others though its file is deleted every time."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import Timeout

from mtlbench.locking import locked


def test_one_at_a_time_and_nothing_is_left(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            with locked(tmp_path / "a.lock"):
                inside.append(number)
                time.sleep(0.001)
                most.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert most == [1] * 20
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_held_is_refused_and_released_after_an_error(tmp_path: Path) -> None:
    def enter() -> None:
        with locked(tmp_path / "a.lock", timeout=0):
            pass

    def fail() -> None:
        with locked(tmp_path / "a.lock"), ThreadPoolExecutor(1) as pool:
            pool.submit(enter).result()

    with pytest.raises(Timeout):
        fail()
    enter()
    assert not list(tmp_path.iterdir())
