"""`mtlbench` as a process of its own, leader of its group, which a test can interrupt or kill."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def start(folder: Path, words: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mtlbench", *words], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip


def succeeds(process: subprocess.Popen[str]) -> None:
    """Wait for a process, which must end with status 0; its output is the reason if not."""
    output = process.communicate()
    assert process.returncode == 0, output
