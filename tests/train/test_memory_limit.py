"""A store larger than memory: training under a memory limit, page cache included, of a tenth of the store."""

import json
from pathlib import Path

import pytest

from scripts.bench_memory import SMALL, command, large_store
from scripts.memory_limit import NoGroupError, memory_group

GIGABYTES = 5.0
"""A tenth of it is about what Python, torch and Arrow need to start, and 100 MB."""


@pytest.mark.long
def test_a_store_is_trained_on_with_a_tenth_of_its_size_in_memory(tmp_path: Path):
    limit = int(GIGABYTES * 1e8)
    try:
        with memory_group(limit):
            pass
    except NoGroupError as error:
        pytest.skip(str(error))
    store = large_store(tmp_path, GIGABYTES, holes=True)
    assert store.split("train").nbytes > 9.9 * limit
    with memory_group(limit) as group:
        words = [*SMALL, "trainer.steps=100", "trainer.shuffle_buffer=65536", f"run.folder={tmp_path / 'runs'}"]
        command(tmp_path, "train", *words, enter=group.enter)
        assert group.peak <= limit
    (result,) = (json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json"))
    assert result["steps"] == 100
