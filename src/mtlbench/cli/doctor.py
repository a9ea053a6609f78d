"""``mtlbench doctor``: what is installed, what the machine offers, what can be reached."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path

from mtlbench.cli.compose import compose

PACKAGES = ("torch", "hydra-core", "omegaconf", "mlflow", "pandas", "pyarrow", "numpy", "scipy", "scikit-learn")
EXTRAS = {"parallel": "hydra_plugins.hydra_joblib_launcher", "bench": "torch_rechub"}
USAGE = "usage: mtlbench doctor [run.folder=runs] [run.data=data] [run.tracker.uri=<uri>]\n"


def run(arguments: list[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    config = compose(arguments)
    ok = True
    for name, state, good in _checks(config):
        ok = ok and good
        print(f"  {'ok' if good else 'NO':<4}{name:<18}{state}")
    return 0 if ok else 1


def _checks(config):  # noqa: ANN001, ANN202
    from mtlbench.experiment.identity import code_version

    yield "mtlbench", code_version(), True
    yield "python", f"{platform.python_version()} on {platform.platform()}", True
    for package in PACKAGES:
        yield package, importlib.metadata.version(package), True
    for extra, module in EXTRAS.items():
        there = _importable(module)
        yield f"extra {extra}", "installed" if there else f"not installed (pip install 'mtlbench[{extra}]')", True
