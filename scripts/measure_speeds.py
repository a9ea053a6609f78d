"""Training speed of every row of every table and figure: conf/speed/cpu.csv, from which --dry-run estimates core-hours.

    python scripts/measure_speeds.py FOLDER [TABLE|FIGURE ...]

Rows per second of CPU time of one thread, so that other load matters little: a few thousand simulated rows in FOLDER, a
first step to warm up, then the median of STEPS steps on batches of at most LARGEST rows. Existing lines of the file are
kept and missing ones added, one by one, so that this can be interrupted.
"""

import csv
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from omegaconf import DictConfig

from mtlbench.balancing.shared import SharedGradients
from mtlbench.cli.choices import choices
from mtlbench.cli.compose import compose
from mtlbench.cli.reproduce import read_study
from mtlbench.cli.search_path import conf_folder
from mtlbench.experiment.build import build
from mtlbench.experiment.data import open_or_prepare, resolve_data
from mtlbench.experiment.objects import build_losses, build_model, build_run_optimizers, build_settings
from mtlbench.reproduce.cost import SPEEDS, read_speeds, speed_key
from mtlbench.schema import Batch
from mtlbench.train.objective import Objective
from mtlbench.train.optimizers import parameter_groups
from mtlbench.train.step import Step, penalties_of

STEPS = 3
LARGEST = 1024
SMALL = ["dataset.source=simulated", "dataset.simulator.rows=4000", "dataset.one_class=note", "tracker=none"]


def main() -> None:
    folder, *names = sys.argv[1:]
    torch.set_num_threads(1)
    file = conf_folder() / SPEEDS
    known = read_speeds(file)
    for name in names or [*choices("table"), *choices("figure")]:
        study = read_study(name)
        for row in study.rows:
            for words in study.datasets.values():
                said = [f"profile={study.profile}", *words, *row.overrides]
                config = compose([*said, *SMALL, f"run.data={folder}"])
                key = speed_key(config)
                if key in known:
                    continue
                try:
                    known[key] = rows_per_second(config)
                except (ValueError, MemoryError) as error:
                    print(f"{key}: {error}", file=sys.stderr)
                    continue
                with file.open("a", encoding="utf-8", newline="") as out:
                    csv.writer(out, lineterminator="\n").writerow([*key, f"{known[key]:.0f}"])
                print(*key, f"{known[key]:.0f}", flush=True)


def rows_per_second(config: DictConfig) -> float:
    """Training rows per second of CPU time."""
    step, batch_of = prepared_step(config)
    seconds: list[float] = []
    for at in range(1 + STEPS):
        batch = batch_of()
        began = time.process_time()
        step(batch, compare=False)
        if at:
            seconds.append(time.process_time() - began)
    return len(batch_of()) / median(seconds)


def prepared_step(config: DictConfig) -> tuple[Step, Callable[[], Batch]]:
    """The training step of a configuration at its initial weights, and a function that draws batches for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = open_or_prepare(resolve_data(config.dataset, Path(config.run.data)))
    settings = build_settings(config)
    torch.manual_seed(0)
    model = build_model(config, store.schema).train()
    groups = parameter_groups(model)
    step = Step(
        model=model,
        compiled=model,
        optimizers=build_run_optimizers(config, model),
        objective=Objective(
            losses=build_losses(config, store, model),
            balance=build(config.balancing, "balancing")(tasks=store.schema.tasks),
        ),
        shared=SharedGradients(
            tasks=len(store.schema.tasks), tables=groups["embedding"], dense=groups["gate"] + groups["dense"]
        ),
        penalties=penalties_of(model),
        settings=settings,
    )
    rows = store.split("train")
    batch = min(settings.batch_size, LARGEST, len(rows) // 2)
    return step, lambda: rows.gather(torch.randperm(len(rows))[:batch])


if __name__ == "__main__":
    main()
