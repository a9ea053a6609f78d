"""A closer look at a finished run: metrics by slice, calibration and permutation importance."""

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
    """A split of a run's data with what the run predicts.

    Attributes:
        facts: what the run is.
        store, split: its data.
        rows: log-odds and labels.
        metrics: of all rows, as `evaluate_run` gives them.
    """

    facts: RunInfo
    store: Store
    split: str
    rows: ScoredRows
    metrics: Metrics

    @cached_property
    def whole(self) -> Slice:
        """All rows as a slice; of millions, its bootstrap takes most of the time that slices take."""
        return measure_slice("(all rows)", self.rows)


def scored_split(folder: Path, split: str, device: str = "auto") -> ScoredSplit:
    """A split with a run's log-odds: those of the test rows that it has kept, else computed by its selected weights.

    Raises:
        ConfigError: as `load_run`, or no such split.
        OtherResultError: on the test split, see `check_result`.
        DamagedFileError: a file of the run is damaged.
    """
    if split not in SPLITS:
        raise ConfigError(f"split={split}; allowed: {', '.join(SPLITS)}")
    if not (folder / CONFIG).exists():
        raise ConfigError(f"{folder} holds no trained run: {CONFIG} is missing")
    kept = read_scores(folder, read_facts(folder)[0].identity) if split == "test" else None
    if kept is None:
        if not (folder / "best.pt").exists():
            raise ConfigError(
                f"{folder} has neither kept log-odds of its {split} rows (scores.parquet) nor weights to compute them "
                "with (best.pt). Train it again with run.fresh=true"
            )
        run = load_run(folder, device)
        rows, facts, store, settings = run.store.split(split), run.facts, run.store, run.settings
        scores, metrics = evaluate_split(run.model, rows, run.losses, settings, run.device, build_ranking(run.config))
        log_odds = scores.numpy()
    else:
        facts, config, store = load_data(folder)
        rows, settings = store.split(split), build_settings(config)
        log_odds = np.stack([kept[task.name] for task in store.schema.tasks], axis=1)
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
    there = {name: rows.columns[name].numpy() for name in ("observed", "group") if name in rows.columns}
    scored = ScoredRows(
        log_odds=log_odds,
        labels=rows.columns["labels"].numpy(),
        observed=there.get("observed"),
        group=there.get("group"),
        tasks=store.schema.tasks,
    )
    return ScoredSplit(facts=facts, store=store, split=split, rows=scored, metrics=metrics)


def metrics_by_slice(scored: ScoredSplit, fields: Sequence[str], *, bins: int = 5, min_rows: int = 50) -> Slices:
    """Metrics of each value of a field, or of each combination of several fields' values; see `slicing`.

    Args:
        scored: the split.
        fields: one name, or several for their combinations; also fields that the model does not read.
        bins: of a number, at most; their edges are quantiles of these rows.
        min_rows: values with fewer rows are measured together.

    Raises:
        ConfigError: a field that is not there.
        ValueError: one whose values make no slices.
    """
    known = sliceable(scored.store)
    if not fields:
        raise ConfigError(f"slices: no field is named. Data set '{scored.facts.dataset}' has {', '.join(known)}")
    for name in fields:
        if name not in known:
            hint = did_you_mean(name, known) or f". It has {', '.join(known)}"
            raise ConfigError(f"slices: data set '{scored.facts.dataset}' has no field '{name}'{hint}")
    if bins < 2 or min_rows < 1:
        raise ConfigError(f"bins={bins}, min_rows={min_rows}; allowed: at least 2 and 1")
    found = slicing(scored.store, scored.split, fields, bins=bins, min_rows=min_rows)
    rest = measure_slices(scored.rows, [("(rest)", found.rest)]) if len(found.rest) else [None]
    return Slices(
        fields=found.fields,
        min_rows=min_rows,
        unit="row" if scored.rows.group is None else "group",
        whole=scored.whole,
        slices=tuple(measure_slices(scored.rows, zip(found.names, found.members, strict=True))),
        rest=rest[0],
        rest_values=found.rest_values,
        notes=found.notes,
    )


def permutation_importance(
    folder: Path, split: str, device: str = "auto", *, repeats: int = 5, seed: int = 0, sample_rows: int = 100_000
) -> Importance:
    """How much worse a run predicts when a field's values are shuffled among the rows, for each field it learns from.

    A pass of the run's selected weights over the rows for each field and repeat. All fields are shuffled alike in a
    repeat. Fields that say the same share their importance: shuffling one of them leaves the other.

    Args:
        folder: of the run.
        split: whose rows are scored.
        device: to score on.
        repeats: of each field.
        seed: of the sample and the shuffling.
        sample_rows: of a larger split, so many rows at random.

    Raises:
        ConfigError: as `load_run`, no such split, no repeats or no rows.

    Paper: Breiman, Random Forests, Machine Learning 2001, section 10; Fisher, Rudin and Dominici, All Models are Wrong,
    but Many are Useful, JMLR 2019 (of any model).
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
    found = [
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
        fields=ranked(found),
    )
