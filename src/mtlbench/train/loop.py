"""The training loop, on one page, independent of the model, the data set and the balancing method."""

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.optim import Optimizer

from mtlbench.balancing.protocol import AfterEpoch
from mtlbench.balancing.shared import SharedGradients
from mtlbench.data.loader import Rows
from mtlbench.data.shuffle import shuffled
from mtlbench.distributed.ranks import any_rank, on_first, wait
from mtlbench.distributed.sharded import shards_of
from mtlbench.distributed.slices import check_batches, part_of_batch
from mtlbench.metrics.evaluate import evaluate
from mtlbench.metrics.own import OwnMetric
from mtlbench.result import Metrics
from mtlbench.schema import Task
from mtlbench.train.budget import Budget
from mtlbench.train.diagnostics import has_diagnostics, journal_diagnostics
from mtlbench.train.interrupt import Interrupt, Interrupted
from mtlbench.train.log import gradient_cosines, log_losses
from mtlbench.train.objective import Objective
from mtlbench.train.optimizers import parameter_groups
from mtlbench.train.progress import Progress, RunContext
from mtlbench.train.resume import Checkpointer
from mtlbench.train.schedule import Schedule, SchedulerFactory
from mtlbench.train.score import predict_log_odds
from mtlbench.train.selection import out_of_patience, select, selection_units
from mtlbench.train.settings import Settings
from mtlbench.train.status_line import progress_bar, running_losses, status_line
from mtlbench.train.step import Step, penalties_of

_log = logging.getLogger(__name__)


class EqualScoresWarning(UserWarning):
    """All validation scores of a task are equal, so its AUC of 0.5 is not the result of a ranking."""


def fit(  # noqa: PLR0913, PLR0915  the loop is meant to be read from top to bottom
    model: nn.Module,
    optimizers: list[Optimizer],
    objective: Objective,
    rows: tuple[Rows, Rows],
    tasks: tuple[Task, ...],
    settings: Settings,
    context: RunContext,
    *,
    scheduler: SchedulerFactory | None = None,
    own_metrics: Sequence[OwnMetric] = (),
    after_evaluation: Callable[[], None] = lambda: None,
) -> Progress:
    """Train a model and keep the weights with the best validation score; resumes from a checkpoint if there is one.

    Args:
        model: on its device, with the initial weights of the run's seed.
        optimizers: over the model's parameters.
        objective: see `Objective`.
        rows: training and validation rows.
        tasks: names for journal and messages.
        settings: see `Settings`.
        context: see `RunContext`; ``last.pt`` and ``best.pt`` are written there.
        scheduler: builds the learning-rate schedule; ``None`` keeps learning rates constant.
        own_metrics: the user's own metrics, computed on validation rows in addition to the built-in ones.
        after_evaluation: called once the journal has the validation metrics of an evaluation.

    Raises:
        ValueError: ``trainer.conflicts`` is set for a single task.
        NonFiniteLossError: a loss is not finite.
        Interrupted: a signal arrived; the run can resume from the checkpoint just written.
    """
    train, valid = rows
    diagnosed = settings.diagnostics and has_diagnostics(model)
    units = selection_units(tasks, settings)
    budget = Budget.of(settings, len(train))
    check_batches(budget.bounds)
    names, penalties = [task.name for task in tasks], penalties_of(model)
    terms = [f"{name}/{what}" for what in ("loss", "weight") for name in names] + [f"penalty/{at}" for at in penalties]
    shared, balance = _shared_gradients(model, tasks, settings), objective.balance
    schedule = Schedule(scheduler, optimizers, budget.total)
    stateful = {"balancing": balance, "shared": shared} | ({"schedule": schedule} if schedule else {})
    checkpointer = Checkpointer(model=model, stateful=stateful, optimizers=optimizers, context=context)
    progress = checkpointer.resume()
    move = Step(
        model=model,
        compiled=torch.compile(model, dynamic=False) if settings.compile else model,
        optimizers=optimizers,
        objective=objective,
        shared=shared,
        penalties=penalties,
        settings=settings,
    )
    saved, about = time.monotonic(), {"run": context.identity}  # names the run, in case several log at once
    with Interrupt() as interrupt:
        try:
            while progress.evaluated < budget.total and not out_of_patience(progress, units, settings.patience):
                model.train()
                buffer, block = settings.shuffle_buffer, settings.shuffle_block
                batches = shuffled(train, context.seed, progress.epoch, buffer=buffer, block=block)
                with progress_bar(budget, progress, settings) as bar:
                    for start, stop in bar:
                        interrupt.check()
                        began = time.perf_counter()
                        batch = batches(part_of_batch(start, stop)).to(context.device)
                        logs = (progress.step + 1) % settings.log_steps == 0
                        terms_N, cosine_TT = move(batch, compare=logs and settings.conflicts)
                        schedule.after_step()
                        progress.window.append(terms_N)
                        progress.step += 1
                        progress.position += 1
                        if logs:
                            log_losses(progress, terms, context.journal, gradient_cosines(cosine_TT, names))
                            bar.set_postfix_str(f"loss {' '.join(running_losses(progress, len(tasks)))}", refresh=False)
                        progress.seconds += time.perf_counter() - began
                        # Clocks of ranks differ, and saving is collective: all save where one of them is due.
                        if any_rank(time.monotonic() - saved > 60 * settings.checkpoint_minutes):
                            checkpointer.save(progress)
                            saved = time.monotonic()
                evaluates = progress.step == budget.evaluation_after(progress.evaluated)
                if evaluates:
                    log_losses(progress, terms, context.journal)
                if progress.position == len(budget.bounds):
                    progress.epoch, progress.position = progress.epoch + 1, 0
                    if isinstance(balance, AfterEpoch):
                        balance.after_epoch()
                if not evaluates:
                    continue
                move.finish()
                logits = predict_log_odds(model, valid, objective.losses, settings, context.device, interrupt)
                columns = valid.columns
                observed, group = columns.get("observed"), columns.get("group")
                measured = on_first(
                    partial(evaluate, logits, columns["labels"], observed, tasks, group=group, own=own_metrics)
                )
                _warn_of_equal_scores(measured, budget.epoch(progress.step))
                select(model, units, measured.values, progress, context)
                schedule.after_evaluation([unit.score(measured.values) for unit in units])
                trained = budget.rows(progress.step) - budget.rows(progress.evaluated)
                progress.rows_per_second.append(trained / progress.seconds)
                progress.evaluated, progress.seconds = progress.step, 0.0
                valid_metrics = measured.prefixed("valid")
                shown = journal_diagnostics(model, valid, settings, context.device) if diagnosed else Metrics()
                context.journal.append(
                    step=progress.step,
                    epoch=progress.epoch,
                    undefined=valid_metrics.undefined | shown.undefined,
                    values=valid_metrics.values
                    | shown.values
                    | {"train/rows_per_second": progress.rows_per_second[-1]},
                )
                text = status_line(progress, budget, settings, units, measured, checkpointer.elapsed)
                _log.info(text, extra=about)
                progress.sums, progress.summed = [], 0
                checkpointer.save(progress)
                saved = time.monotonic()
                after_evaluation()
        except Interrupted:
            checkpointer.save(progress)
            wait()  # if a rank exited earlier, torchrun would kill the one that is writing
            raise
    return progress


def _warn_of_equal_scores(measured: Metrics, epoch: int) -> None:
    if equal := [task for task in measured.tasks if measured.value("equal_scores", task)]:
        warnings.warn(
            f"epoch {epoch}: all validation scores of {', '.join(equal)} are equal, so an AUC of exactly "
            "0.5 does not mean a random ranking",
            EqualScoresWarning,
            stacklevel=3,
        )


def _shared_gradients(model: nn.Module, tasks: tuple[Task, ...], settings: Settings) -> SharedGradients:
    if settings.conflicts and len(tasks) == 1:
        raise ValueError(
            f"trainer.conflicts=true compares the gradients of tasks, but there is only one: {tasks[0].name}. "
            "Set trainer.conflicts=false"
        )
    groups = parameter_groups(model)
    dense = groups["gate"] + groups["dense"]
    return SharedGradients(tasks=len(tasks), tables=groups["embedding"], dense=dense, shards=shards_of(model))
