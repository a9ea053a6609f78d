"""Predictions of a model on a split, and their metrics."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mtlbench.data.loader import Rows
from mtlbench.data.shuffled import ShuffledRows
from mtlbench.distributed.job import alone, part, rank_count
from mtlbench.distributed.ranks import on_first
from mtlbench.distributed.sharded import shards_of
from mtlbench.distributed.slices import rows_over_ranks
from mtlbench.metrics.evaluate import evaluate
from mtlbench.metrics.own import OwnMetric
from mtlbench.metrics.ranking import Ranking
from mtlbench.result import Metrics
from mtlbench.train.interrupt import Interrupt
from mtlbench.train.objective import TaskLosses
from mtlbench.train.settings import Settings
from mtlbench.train.step import autocast


@torch.no_grad()
def predict_log_odds(
    model: nn.Module,
    rows: Rows | ShuffledRows,
    losses: TaskLosses,
    settings: Settings,
    device: torch.device,
    interrupt: Interrupt | None = None,
) -> Tensor:
    """Log-odds of all labels of all rows, float32 ``[N, T]`` on the CPU, in evaluation mode and without labels.

    The model's logits, converted to log-odds as its losses require, see `TaskLosses.log_odds`. With several processes,
    each scores part of the batches.
    """
    model.eval()

    def scored(start: int) -> Tensor:
        index = torch.arange(start, min(start + settings.evaluation_batch_size, len(rows)), device=rows.device)
        with autocast(settings.precision, device):
            return model(rows.gather(index).to(device).unlabelled()).float()

    logits = []
    starts = range(0, len(rows), settings.evaluation_batch_size)
    own_starts = starts[part(0, len(starts))]
    for start in tqdm(own_starts, desc="scoring", unit="batch", disable=None, delay=2, leave=False):
        if interrupt is not None and alone():  # ranks stop together, between two steps
            interrupt.check()
        logits.append(scored(start))
    if shards_of(model) and len(own_starts) * rank_count() < len(starts):
        scored(starts[0])  # other ranks have one more batch, whose lookups need rows of this rank
    # One copy for all: copying each batch would make the device wait while the host gathers the next one.
    return losses.log_odds(rows_over_ranks(logits))


def evaluate_split(
    model: nn.Module,
    rows: Rows,
    losses: TaskLosses,
    settings: Settings,
    device: torch.device,
    ranking: Ranking,
    own: Sequence[OwnMetric] = (),
) -> tuple[Tensor, Metrics]:
    """Log-odds ``[N, T]`` of a split, and their metrics."""
    logits = predict_log_odds(model, rows, losses, settings, device)
    columns = rows.columns
    metrics = on_first(
        lambda: evaluate(
            logits,
            columns["labels"],
            columns.get("observed"),
            rows.schema.tasks,
            columns.get("truth"),
            group=columns.get("group"),
            ranking=ranking,
            own=own,
        )
    )
    return logits, metrics
