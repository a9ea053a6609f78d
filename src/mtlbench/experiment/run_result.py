"""The result of a run: metrics, parameters, throughput and memory, and warnings about suspicious settings or scores."""

import time
import warnings

from omegaconf import DictConfig
from torch import nn

from mtlbench.data.store import Store
from mtlbench.distributed.sharded import shards_of
from mtlbench.experiment.memory import peak_mb
from mtlbench.experiment.objects import build_loss_settings
from mtlbench.experiment.sanity import SuspiciousMetricsWarning, overweighted, selected_validation, suspicious
from mtlbench.result import Metrics, Parameters, Result
from mtlbench.tracking.folder import RunInfo
from mtlbench.tracking.journal import Journal
from mtlbench.train.optimizers import parameter_groups
from mtlbench.train.progress import Progress


def measured_result(
    facts: RunInfo,
    model: nn.Module,
    progress: Progress,
    best_step: dict[str, int],
    metrics: Metrics,
) -> Result:
    """The result of a run; its seconds are training time only, and `metrics` are those of the test split."""
    shards = shards_of(model)
    sizes = {
        kind: sum(shards[p].stop * p.shape[1:].numel() if p in shards else p.numel() for p in group)
        for kind, group in parameter_groups(model, frozen=True).items()
    }
    throughput = sorted(progress.rows_per_second)
    return Result(
        identity=facts.identity,
        code=facts.commit,
        model=facts.model,
        dataset=facts.dataset,
        origin=facts.origin,
        data=facts.data,
        seed=facts.seed,
        metrics=metrics.values,
        undefined=metrics.undefined,
        epochs=progress.epoch,
        steps=progress.step,
        best_step=best_step,
        best_valid=progress.best,
        parameters=Parameters(embedding=sizes["embedding"], dense=sizes["gate"] + sizes["dense"]),
        rows_per_second=throughput[len(throughput) // 2],
        peak_memory_mb=peak_mb(),
        finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        seconds=progress.spent,
    )


def score_warnings(identity: str, journal: Journal, best_step: dict[str, int], metrics: Metrics) -> list[str]:
    """Findings about suspicious validation and test scores of the kept weights, as warnings and as texts."""
    validation = selected_validation(journal.read(), best_step)
    if problems := suspicious(validation, "valid") + suspicious(metrics, "test"):
        text = f"suspicious scores of run {identity}: {'; '.join(problems)}"
        warnings.warn(text, SuspiciousMetricsWarning, stacklevel=3)
    return problems


def weight_warnings(config: DictConfig, store: Store) -> list[str]:
    """Configured weights of positives that do not fit the training rows, see `overweighted`."""
    columns = store.split("train").columns
    return overweighted(build_loss_settings(config), store.schema.tasks, columns["labels"], columns.get("observed"))
