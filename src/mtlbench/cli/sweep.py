"""Sweeps (``train -m``): trains every combination of the given values, and prints one table at the end."""

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from tqdm import tqdm

from mtlbench.cli.compose import compose, started_hydra
from mtlbench.cli.messages import REPORTED, text_of
from mtlbench.cli.overrides import parse_override, readable_errors
from mtlbench.cli.render import outcome_text
from mtlbench.experiment.check import check_config
from mtlbench.experiment.effect import without_effect
from mtlbench.experiment.identity import with_seed
from mtlbench.experiment.run import Outcome, make_paths_absolute
from mtlbench.report.terminal import comparison
from mtlbench.reproduce.execute import execute
from mtlbench.reproduce.launcher import Launcher
from mtlbench.reproduce.plan import PlannedRun, plan_run


def sweep(overrides: list[str], launcher: Launcher) -> int:
    """Train every combination; returns the exit status.

    An unknown key or choice fails the sweep before it begins. A run with an invalid configuration does not stop the
    others, and is listed as a failure at the end.
    """
    jobs = combinations(overrides)
    configs = _composed(jobs)
    labels = [_labels(job, jobs, config) for job, config in zip(jobs, configs, strict=True)]
    refused: list[str] = []
    planned: list[PlannedRun | None] = []
    for config, label in zip(configs, labels, strict=True):
        settings = [f"{key}={value}" for key, value in label.items() if key not in ("dataset", "seed")]
        row = " ".join(settings) or f"model={config.run.choices.model}"
        try:
            check_config(config)
            make_paths_absolute(config)
            planned.append(plan_run(row, config.run.choices.dataset, config))
        except REPORTED as error:
            planned.append(None)
            refused.append(f"{row}, {config.run.choices.dataset}, seed {config.seed}: {text_of(error)}")
            print(f"failed: {refused[-1]}", file=sys.stderr)
    outcomes: dict[str, Outcome] = {}

    def show(run: PlannedRun, outcome: Outcome) -> None:
        outcomes[run.identity] = outcome
        tqdm.write(outcome_text(outcome, run.config))

    runs = {run.identity: run for run in planned if run is not None}
    failures = execute(list(runs.values()), launcher, show)
    if len(jobs) > 1 and outcomes:
        results = [outcomes[run.identity].result if run and run.identity in outcomes else None for run in planned]
        print(comparison(labels, results, _metrics(configs)))
    texts = refused + [f"{runs[identity].title} ({identity}): {reason}" for identity, reason in failures.items()]
    for text in texts if runs else ():
        print(f"failed: {text}", file=sys.stderr)
    return 2 if refused else 1 if failures else 0


def combinations(overrides: list[str]) -> list[list[str]]:
    """The overrides of every run of a sweep: the product of the values of all keys, by Hydra's basic sweeper."""
    with readable_errors(overrides, sweep=True), started_hydra() as hydra:
        parsed = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(overrides)
        (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return jobs


def _composed(jobs: Sequence[list[str]]) -> list[DictConfig]:
    """The configuration of each run, composed once for runs that differ only in their seed."""

    @cache
    def composed(*words: str) -> DictConfig:
        config = compose([*words])
        for key, reason in without_effect(config, words):
            notes.setdefault(f"{key} has no effect: {reason}")
        return config

    notes: dict[str, None] = {}
    configs: list[DictConfig] = []
    for job in jobs:
        config = composed(*(word for word in job if not word.startswith("seed=")))
        seeds: list[Any] = [parse_override(word).value() for word in job if word.startswith("seed=")]
        configs.append(with_seed(config, seeds[-1] if seeds else config.seed))
    for note in notes:
        print(f"mtlbench: note: {note}", file=sys.stderr)
    return configs


def _labels(job: Sequence[str], jobs: Sequence[list[str]], config: DictConfig) -> dict[str, str]:
    """A run's values of the keys that differ between runs; also its model, if only the seeds differ."""
    differing = [len(set(words)) > 1 for words in zip(*jobs, strict=True)]
    words = [word.lstrip("+").partition("=") for word, differs in zip(job, differing, strict=True) if differs]
    labels = {key: value for key, _, value in words}
    return labels if labels.keys() - {"seed"} else {"model": config.run.choices.model, **labels}


def _metrics(configs: Sequence[DictConfig]) -> list[str]:
    """AUC and the selection metrics of all runs (``trainer.select``: one metric, a list, or a mapping to weights)."""
    selects = [config.trainer.select for config in configs]
    terms = [term for select in selects for term in ([select] if isinstance(select, str) else select)]
    return list(dict.fromkeys(["auc", *(term.rpartition("/")[2] for term in terms)]))
