"""Checks of `mtlbench doctor`: packages, machine, prepared stores, folders and tracker."""

import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from omegaconf import DictConfig

from mtlbench.experiment.code_version import code_version
from mtlbench.experiment.device import resolve_device
from mtlbench.tracking.connect import DATABASE, TrackingError, default_uri, sqlite_path, tracking_uri
from mtlbench.tracking.credentials import without_password

PACKAGES = ("torch", "hydra-core", "omegaconf", "mlflow", "pandas", "pyarrow", "numpy", "scipy", "scikit-learn")
EXTRAS = {
    "export": "onnxruntime",
    "parallel": "hydra-joblib-launcher",
    "slurm": "hydra-submitit-launcher",
    "balancing": "torchjd",
    "tune": "optuna",
    "bench": "torch-rechub",
}
"""For each extra, a distribution that it installs."""


def checks(config: DictConfig) -> Iterator[tuple[str, str, bool]]:
    """Name and state of each check, and whether it passed."""
    yield "mtlbench", code_version(), True
    yield "python", f"{platform.python_version()} on {platform.platform()}", True
    for package in PACKAGES:
        yield package, importlib.metadata.version(package), True
    for extra, package in EXTRAS.items():
        installed = any(importlib.metadata.distributions(name=package))
        yield (
            f"extra {extra}",
            "installed" if installed else "not installed; see the page Start of the documentation",
            True,
        )
    yield from _machine(config)
    yield _writable("store", Path(config.run.data))
    yield from _stores(Path(config.run.data))
    yield _writable("runs", Path(config.run.folder))
    yield _tracker(config)


def _machine(config: DictConfig) -> Iterator[tuple[str, str, bool]]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "threads", f"{torch.get_num_threads()} of {cores} cores", True
    yield "memory", f"{psutil.virtual_memory().available / 2**30:.1f} GiB available", True
    device = resolve_device(config.run.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    yield "device", f"{device} ({name})", True
    speed = {"fp32": product_speed(device, torch.float32), "bf16": product_speed(device, torch.bfloat16)}
    shown = ", ".join(f"{precision} {value:,.0f}" for precision, value in speed.items())
    yield "matrix products", f"{shown} GFLOP/s: trainer.precision={max(speed, key=speed.__getitem__)} is faster", True
    compiler = shutil.which("g++") or shutil.which("clang++")
    yield "C++ compiler", compiler or "none; trainer.compile=true needs one (apt-get install g++)", True


def product_speed(device: torch.device, precision: torch.dtype) -> float:
    """GFLOP/s of a square matrix product, the best of three. Not every processor with bf16 is faster with it."""
    size = 1024 if device.type == "cpu" else 8192
    a = torch.randn(size, size, device=device).to(precision)
    seconds: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for an accelerator
        seconds.append(time.perf_counter() - began)
    return 2e-9 * size**3 / min(seconds)


def _stores(data: Path) -> Iterator[tuple[str, str, bool]]:
    """Verify every file of every prepared store against its manifest."""
    if not (folders := sorted(data.glob("store/*/[!.]*"))):
        return
    from mtlbench.data.store import StoreError, open_store  # imports pyarrow, a quarter of a second

    for folder in folders:
        name = f"store {folder.parent.name}"
        try:
            files = open_store(folder).verify().manifest["files"]
        except StoreError as error:
            yield name, str(error), False
        else:
            size = sum(facts["bytes"] for facts in files.values()) / 2**30
            yield name, f"{folder.name}, {size:.2f} GiB, {len(files)} files match the manifest", True


def _writable(name: str, folder: Path) -> tuple[str, str, bool]:
    above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(above).free / 2**30
    ok = os.access(above, os.W_OK)
    return name, f"{folder.absolute()}, {free:.0f} GiB free" + ("" if ok else f"; {above} is not writable"), ok


def _tracker(config: DictConfig) -> tuple[str, str, bool]:
    if config.run.tracker.experiment is None:
        return "tracker", "off", True
    runs = Path(config.run.folder)
    uri = tracking_uri(config.run.tracker.uri, runs)
    # For any other database, reading the path would need SQLAlchemy, half a second to import.
    path = runs.absolute() / DATABASE if uri == default_uri(runs) else sqlite_path(uri)
    if path is not None and not path.exists():
        return "tracker", f"{path} will be created by the first run", True
    from mtlbench.tracking.tracker import check_server  # only if there is a server

    try:
        check_server(uri)
    except TrackingError as error:
        return "tracker", str(error), False
    return "tracker", f"{without_password(uri)} answers", True
