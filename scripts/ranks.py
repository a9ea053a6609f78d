"""A measurement on several processes: starts a script again, by torchrun, for one of its sides."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence


def measured(module: str, processes: int, words: Sequence[str]) -> dict[str, float]:
    """The JSON object that a module prints as its last line, run on several processes of one thread each."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    done = subprocess.run(
        [sys.executable, *launcher, "-m", module, *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])
