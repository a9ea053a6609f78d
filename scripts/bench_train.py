"""Training throughput of mtlbench, deepctr-torch and torch-rechub, and the limits of the machine.

    make bench-train                          the table in docs/performance.md
    python scripts/bench_train.py --help

Workload W1: 18 single-valued fields with the vocabularies of AITM's Ali-CCP (1,283,090 ids, one per field for unknown
values), embedding width 32, MMoE with 8 experts 256-128-64, towers 64, two tasks, batch 1,024, Adam. Rows are random:
throughput does not depend on their content. Every side runs its own training loop, on its own form of data in memory,
in a separate process; sides take turns, and the median of the rounds counts. Warm-up (compilation, first touches of
memory) is left out for every side.
"""

# pyright: reportMissingImports=false
# The peers are not installed in the environment in which types are checked.
import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

# Ids per field, unknown ones included: AITM.py of the authors' code, the de-facto preparation of Ali-CCP.
VOCABULARIES = (238635, 98, 14, 3, 8, 4, 4, 3, 5, 467298, 6929, 263942, 106399, 5888, 104830, 51878, 37148, 4)
WIDTH, EXPERTS, EXPERT_LAYERS, TOWER_LAYERS, TASKS = 32, 8, (256, 128, 64), (64,), 2

SIDES = {
    "mtlbench, lazy Adam, bf16, compiled": ("mtlbench", "lazy_adam", "bf16"),
    "mtlbench, exact Adam, bf16, compiled": ("mtlbench", "adam", "bf16"),
    "mtlbench, lazy Adam, fp32": ("mtlbench", "lazy_adam", "fp32"),
    "mtlbench, exact Adam, fp32": ("mtlbench", "adam", "fp32"),
    "deepctr-torch, exact Adam, fp32": ("deepctr_torch", "adam", "fp32"),
    "torch-rechub, exact Adam, fp32": ("torch_rechub", "adam", "fp32"),
}

OURS = {"GOMP_SPINCOUNT": "2000"}
"""Environment variables of mtlbench's sides: those that its command line sets. Peers run with their defaults."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=8.0, help="roughly, per side and round")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="only sides whose name contains this")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.batch, arguments.seconds, torch.device(arguments.device))))
        return
    sides = [side for side in SIDES if arguments.only in side]
    results: dict[str, list[dict[str, float]]] = {side: [] for side in ["limits", *sides]}
    for _ in range(arguments.rounds):
        for side, runs in results.items():
            command = [
                sys.executable,
                __file__,
                "--side",
                side,
                "--batch",
                str(arguments.batch),
                "--seconds",
                str(arguments.seconds),
                "--device",
                arguments.device,
            ]
            done = subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                env=os.environ | {"DO_NOT_TRACK": "1"} | (OURS if side.startswith("mtlbench") else {}),
            )
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"  {side}: {runs[-1]}", file=sys.stderr)
    report(results, arguments.batch, arguments.device)


def measure(side: str, batch: int, seconds: float, device: torch.device) -> dict[str, float]:
    """Measure one side once, in this process."""
    if side == "limits":
        return limits(device)
    package, optimizer, precision = SIDES[side]
    if package == "mtlbench":
        return {"rows_per_second": mtlbench_side(optimizer, precision, batch, seconds, device)}
    side_of_peer = deepctr_side if package == "deepctr_torch" else rechub_side
    return {"rows_per_second": side_of_peer(batch, seconds, device)}


def columns(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids ``[rows, 18]`` from 0, skewed (the square of a uniform number), and labels ``[rows, 2]``."""
    random = np.random.default_rng(0)
    ids = (random.random((rows, len(VOCABULARIES))) ** 2 * np.array(VOCABULARIES)).astype(np.int64)
    return ids, (random.random((rows, TASKS)) < 0.2).astype(np.float32)


def mtlbench_side(optimizer: str, precision: str, batch: int, seconds: float, device: torch.device) -> float:
    """Rows/s of the last of two epochs of the project's own loop."""
    from functools import partial

    from mtlbench.balancing.constant import Equal
    from mtlbench.data.loader import Rows
    from mtlbench.models.mmoe import MMoE
    from mtlbench.schema import Field, Schema, Task
    from mtlbench.tracking.journal import Journal
    from mtlbench.train.loop import fit
    from mtlbench.train.objective import Objective, TaskLosses
    from mtlbench.train.optimizers import DEFERRED_ROWS, LazyAdam, build_optimizers
    from mtlbench.train.progress import RunContext
    from mtlbench.train.settings import Settings

    schema = Schema(
        fields=tuple(Field(name=f"f{i}", cardinality=size) for i, size in enumerate(VOCABULARIES)),
        tasks=tuple(Task(name=f"t{i}", label=f"t{i}") for i in range(TASKS)),
    )
    model = MMoE(
        schema, embedding_width=WIDTH, experts=EXPERTS, expert_layers=EXPERT_LAYERS, tower_layers=TOWER_LAYERS
    ).to(device)
    adam = partial(torch.optim.Adam, fused=True)
    optimizers = build_optimizers(
        model,
        embedding=LazyAdam if optimizer == "lazy_adam" else adam,
        dense=adam,
        gate=None,
        sparse=optimizer == "lazy_adam",
        deferred_rows=DEFERRED_ROWS,
    )

    def rows(count: int) -> Rows:
        ids, labels = columns(count)
        offsets = np.array([schema.offsets[field.name] for field in schema.fields])
        return Rows(
            schema=schema,
            tables={},
            pointers={},
            columns={
                "ids": torch.from_numpy((ids + offsets).astype(np.int32)).to(device),
                "labels": torch.from_numpy(labels.astype(np.int8)).to(device),
            },
        )

    settings = Settings(
        epochs=2,
        batch_size=batch,
        evaluation_batch_size=batch,
        patience=None,
        select="logloss",
        precision="bf16" if precision == "bf16" else "fp32",
        compile=precision == "bf16",
        clip=None,
        log_steps=50,
        checkpoint_minutes=60,
    )
    objective = Objective(losses=TaskLosses(pos_weight=None, given=()), balance=Equal(tasks=schema.tasks))
    guess = 30_000 if optimizer == "lazy_adam" else 10_000
    steps = max(int((guess if device.type == "cpu" else 2_000_000) * seconds / batch), 20)
    with tempfile.TemporaryDirectory() as folder:
        place = RunContext(identity="bench", folder=Path(folder), journal=Journal(Path(folder)), device=device, seed=0)
        splits = (rows(steps * batch), rows(batch))
        progress = fit(model, optimizers, objective, splits, schema.tasks, settings, place)
    return progress.rows_per_second[-1]


def deepctr_side(batch: int, seconds: float, device: torch.device) -> float:
    """Rows/s of the peer's own fit, on enough rows for the time, after a short warm-up fit."""
    from deepctr_torch.inputs import SparseFeat
    from deepctr_torch.models import MMOE

    features = [SparseFeat(f"f{i}", size, embedding_dim=WIDTH) for i, size in enumerate(VOCABULARIES)]
    model = MMOE(
        features,
        num_experts=EXPERTS,
        expert_dnn_hidden_units=EXPERT_LAYERS,
        gate_dnn_hidden_units=(),
        tower_dnn_hidden_units=TOWER_LAYERS,
        task_types=("binary", "binary"),
        task_names=("t0", "t1"),
        l2_reg_linear=0,
        l2_reg_embedding=0,
        l2_reg_dnn=0,
        device=str(device),
    )
    model.compile("adam", loss=["binary_crossentropy"] * TASKS)

    def fit(rows: int) -> None:
        ids, labels = columns(rows)
        model.fit({f"f{i}": ids[:, i] for i in range(len(VOCABULARIES))}, labels, batch_size=batch, epochs=1, verbose=0)

    return timed(fit, batch, seconds)


def rechub_side(batch: int, seconds: float, device: torch.device) -> float:
    """Rows/s of one epoch of the peer's own trainer, measured alike; without worker processes, as in its examples."""
    from torch.utils.data import DataLoader
    from torch_rechub.basic.features import SparseFeature
    from torch_rechub.models.multi_task import MMOE
    from torch_rechub.trainers import MTLTrainer
    from torch_rechub.utils.data import TorchDataset

    features = [SparseFeature(f"f{i}", vocab_size=size, embed_dim=WIDTH) for i, size in enumerate(VOCABULARIES)]
    model = MMOE(
        features,
        ["classification"] * TASKS,
        EXPERTS,
        {"dims": list(EXPERT_LAYERS)},
        [{"dims": list(TOWER_LAYERS)}] * TASKS,
    )
    trainer = MTLTrainer(
        model,
        task_types=["classification"] * TASKS,
        optimizer_params={"lr": 1e-3},
        n_epoch=1,
        device=str(device),
        model_path=tempfile.mkdtemp(),
    )

    def fit(rows: int) -> None:
        ids, labels = columns(rows)
        loader = DataLoader(
            TorchDataset({f"f{i}": ids[:, i] for i in range(len(VOCABULARIES))}, labels), batch_size=batch, shuffle=True
        )
        trainer.train_one_epoch(loader)

    return timed(fit, batch, seconds)


def timed(fit: Callable[[int], None], batch: int, seconds: float) -> float:
    fit(3 * batch)
    began = time.perf_counter()
    fit(5 * batch)
    steps = max(int(5 * seconds / (time.perf_counter() - began)), 5)
    began = time.perf_counter()
    fit(steps * batch)
    return steps * batch / (time.perf_counter() - began)


def limits(device: torch.device) -> dict[str, float]:
    """The limits of this machine: matrix products (GFLOP/s) and copies (GB/s, read plus written)."""
    size = 2048 if device.type == "cpu" else 8192

    def product(dtype: torch.dtype) -> float:
        a, b = torch.randn(size, size, device=device, dtype=dtype), torch.randn(size, size, device=device, dtype=dtype)
        return 2 * size**3 / best(lambda: a @ b, device) / 1e9

    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    return {
        "bf16_gflops": product(torch.bfloat16),
        "fp32_gflops": product(torch.float32),
        "copy_gbs": 2 * source.nbytes / best(lambda: target.copy_(source), device) / 1e9,
    }


def best(action: Callable[[], object], device: torch.device) -> float:
    """Median seconds of ten calls, after two to warm up."""
    times = []
    for _ in range(12):
        began = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])


def flops_per_row() -> int:
    """Floating-point operations of matrix products per trained row: forward once, backward twice."""
    d = WIDTH * len(VOCABULARIES)
    widths = (d, *EXPERT_LAYERS)
    experts = EXPERTS * sum(a * b for a, b in pairwise(widths))
    towers = (EXPERT_LAYERS[-1], *TOWER_LAYERS, 1)
    tower = sum(a * b for a, b in pairwise(towers))
    return 3 * 2 * (experts + TASKS * (d * EXPERTS + tower))


def report(results: dict[str, list[dict[str, float]]], batch: int, device: str) -> None:
    machine = {name: statistics.median(run[name] for run in results["limits"]) for name in results["limits"][0]}
    medians = {
        side: statistics.median(run["rows_per_second"] for run in runs)
        for side, runs in results.items()
        if side != "limits"
    }
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "deepctr-torch", "torch-rechub")
    )
    print(
        f"W1, batch {batch:,}, {device}, {torch.get_num_threads()} threads, {len(results['limits'])} rounds; {versions}"
    )
    print("limits: " + ", ".join(f"{name} {value:,.0f}" for name, value in machine.items()) + "\n")
    peers = {side: value for side, value in medians.items() if not side.startswith("mtlbench")}
    heads = ["side", "rows/s", "min", "max", *(f"x {peer.split(',')[0]}" for peer in peers), "share of limit"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for side, value in medians.items():
        runs = [run["rows_per_second"] for run in results[side]]
        ratios = [f"{value / peer:.2f}" for peer in peers.values()]
        share = value * flops_per_row() / max(machine["bf16_gflops"], machine["fp32_gflops"]) / 1e9
        print(
            "| "
            + " | ".join([side, f"{value:,.0f}", f"{min(runs):,.0f}", f"{max(runs):,.0f}", *ratios, f"{share:.0%}"])
            + " |"
        )


if __name__ == "__main__":
    main()
