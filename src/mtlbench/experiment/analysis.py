"""Analyses of a finished run: metrics by slice, calibration and permutation importance."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from mtlbench.data.loader import order
from mtlbench.data.shuffled import ShuffledRows
from mtlbench.data.slicing import sliceable, slicing
from mtlbench.data.store import SPLITS, Store
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.evaluation import check_result, load_data, load_run
from mtlbench.experiment.objects import build_ranking, build_settings
from mtlbench.metrics.evaluate import evaluate
from mtlbench.metrics.importance import Importance, field_importance, ranked
from mtlbench.metrics.names import did_you_mean
from mtlbench.metrics.slices import ScoredRows, Slice, Slices, measure_slice, measure_slices
from mtlbench.result import Metrics
from mtlbench.tracking.folder import CONFIG, RunInfo, read_facts
from mtlbench.tracking.scores import read_scores
from mtlbench.train.score import evaluate_split, predict_log_odds


@dataclass(frozen=True, kw_only=True)
class ScoredSplit:
    """A split of a run's data with the run's predictions.

    Attributes:
        facts: the facts of the run.
        store, split: the run's store, and the name of the split.
        rows: log-odds and labels.
        metrics: metrics of all rows, as `evaluate_run` returns them.
    """

    facts: RunInfo
    store: Store
    split: str
    rows: ScoredRows
    metrics: Metrics

    @cached_property
    def whole(self) -> Slice:
        """All rows as one slice. With millions of rows, its bootstrap dominates the time of an analysis by slice."""
        return measure_slice("(all rows)", self.rows)


def scored_split(folder: Path, split: str, device: str = "auto") -> ScoredSplit:
    """A split with a run's log-odds: the stored ones of the test rows, or computed with the selected weights.

    Raises:
        ConfigError: as `load_run`, or the split does not exist.
        OtherResultError: on the test split, see `check_result`.
        DamagedFileError: a file of the run is damaged.
    """
    if split not in SPLITS:
        raise ConfigError(f"split={split}; allowed: {', '.join(SPLITS)}")
    if not (folder / CONFIG).exists():
        raise ConfigError(f"{folder} holds no trained run: {CONFIG} is missing")
    stored = read_scores(folder, read_facts(folder)[0].identity) if split == "test" else None
    if stored is None:
        if not (folder / "best.pt").exists():
            raise ConfigError(
                f"{folder} has neither stored log-odds of its {split} rows (scores.parquet) nor weights to compute "
                "them with (best.pt). Train it again with run.fresh=true"
            )
        run = load_run(folder, device)
        rows, facts, store, settings = run.store.split(split), run.facts, run.store, run.settings
        scores, metrics = evaluate_split(run.model, rows, run.losses, settings, run.device, build_ranking(run.config))
        log_odds = scores.numpy()
    else:
        facts, config, store = load_data(folder)
        rows, settings = store.split(split), build_settings(config)
        log_odds = np.stack([stored[task.name] for task in store.schema.tasks], axis=1)
        columns = rows.columns
        metrics = evaluate(
            log_odds,
            columns["labels"],
            columns.get("observed"),
            store.schema.tasks,
            columns.get("truth"),
            group=columns.get("group"),
            ranking=build_ranking(config),
        )
    if split == "test":
        check_result(folder, metrics.values, settings.precision)
    side_columns = {name: rows.columns[name].numpy() for name in ("observed", "group") if name in rows.columns}
    scored = ScoredRows(
        log_odds=log_odds,
        labels=rows.columns["labels"].numpy(),
        observed=side_columns.get("observed"),
        group=side_columns.get("group"),
        tasks=store.schema.tasks,
    )
    return ScoredSplit(facts=facts, store=store, split=split, rows=scored, metrics=metrics)


def metrics_by_slice(scored: ScoredSplit, fields: Sequence[str], *, bins: int = 5, min_rows: int = 50) -> Slices:
    """Metrics for each value of a field, or for each combination of values of several fields; see `slicing`.

    Args:
        scored: the split.
        fields: one name, or several for combinations; a field need not be an input of the model.
        bins: maximum number of bins of a number field, with quantiles of these rows as edges.
        min_rows: values with fewer rows are pooled.

    Raises:
        ConfigError: the data set has no such field.
        ValueError: the values of a field make no slices.
    """
    available = sliceable(scored.store)
    if not fields:
        raise ConfigError(f"slices: no field is given. Data set '{scored.facts.dataset}' has {', '.join(available)}")
    for name in fields:
        if name not in available:
            hint = did_you_mean(name, available) or f". It has {', '.join(available)}"
            raise ConfigError(f"slices: data set '{scored.facts.dataset}' has no field '{name}'{hint}")
    if bins < 2 or min_rows < 1:
        raise ConfigError(f"bins={bins}, min_rows={min_rows}; allowed: at least 2 and 1")
    sliced = slicing(scored.store, scored.split, fields, bins=bins, min_rows=min_rows)
    rest = measure_slices(scored.rows, [("(rest)", sliced.rest)]) if len(sliced.rest) else [None]
    return Slices(
        fields=sliced.fields,
        min_rows=min_rows,
        unit="row" if scored.rows.group is None else "group",
        whole=scored.whole,
        slices=tuple(measure_slices(scored.rows, zip(sliced.names, sliced.members, strict=True))),
        rest=rest[0],
        rest_values=sliced.rest_values,
        notes=sliced.notes,
    )


def permutation_importance(
    folder: Path, split: str, device: str = "auto", *, repeats: int = 5, seed: int = 0, sample_rows: int = 100_000
) -> Importance:
    """Permutation importance of each input field: the loss in quality when its values are shuffled among the rows.

    Takes one forward pass over the rows per field and repeat. In a repeat, all fields use the same permutation.
    Redundant fields share their importance, since the others remain when one is shuffled.

    Args:
        folder: the run's folder.
        split: the split to score.
        device: the device to score on.
        repeats: permutations per field.
        seed: seed of the sample and of the permutations.
        sample_rows: number of rows to sample from a larger split.

    Raises:
        ConfigError: as `load_run`, the split does not exist, or too few repeats or rows.

    Paper: Breiman, Random Forests, Machine Learning 2001, section 10; Fisher, Rudin and Dominici, All Models are Wrong,
    but Many are Useful, JMLR 2019 (model-agnostic).
    """
    if split not in SPLITS or repeats < 1 or sample_rows < 2:
        raise ConfigError(
            f"split={split}, repeats={repeats}, sample_rows={sample_rows}; allowed: {', '.join(SPLITS)}, at least 1, "
            "at least 2"
        )
    run = load_run(folder, device)
    rows, tasks = run.store.split(split), run.store.schema.tasks
    sample = torch.arange(len(rows))
    if len(rows) > sample_rows:
        sample = order(len(rows), seed, 0)[:sample_rows].sort().values
    columns = {name: rows.columns[name][sample] for name in ("labels", "observed") if name in rows.columns}

    def measured(shuffled: ShuffledRows) -> Metrics:
        log_odds = predict_log_odds(run.model, shuffled, run.losses, run.settings, run.device)
        return evaluate(log_odds, columns["labels"], columns.get("observed"), tasks)

    unchanged = measured(ShuffledRows(rows=rows, sample=sample, donor=sample))
    donors = [sample[order(len(sample), seed, repeat)] for repeat in range(1, repeats + 1)]
    fields = tqdm(run.store.schema.fields, desc="shuffling", unit="field", disable=None, delay=2, leave=False)
    importances = [
        field_importance(
            field.name,
            unchanged,
            [measured(ShuffledRows(rows=rows, sample=sample, field=field, donor=donor)).values for donor in donors],
        )
        for field in fields
    ]
    return Importance(
        rows=len(sample),
        split_rows=len(rows),
        repeats=repeats,
        seed=seed,
        tasks=tuple(task.name for task in tasks),
        unchanged=unchanged,
        fields=ranked(importances),
    )
