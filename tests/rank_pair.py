"""Two processes that are ranks of one job, kept for many tasks: connecting them takes longer than all that they do."""

import pickle
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import DictConfig
from torch import Tensor, nn

from mtlbench.balancing.protocol import AfterEpoch, Balancing
from mtlbench.balancing.shared import SharedGradients
from mtlbench.distributed.job import alone, first_only, is_first, part, rank, rank_count
from mtlbench.distributed.layers import check_noise, see_whole_batches
from mtlbench.distributed.ranks import agree, any_rank, first_goes_ahead, gather_objects, join, leave, on_first
from mtlbench.distributed.sharded import shards_of
from mtlbench.distributed.slices import part_of_batch, rows_over_ranks
from mtlbench.experiment.objects import build_run_optimizers
from mtlbench.schema import Batch
from mtlbench.train.objective import Objective, TaskLosses
from mtlbench.train.optimizers import parameter_groups
from mtlbench.train.settings import Settings
from mtlbench.train.step import Step, penalties_of
from mtlbench.train.table_rows import TableRows, model_state

SECONDS = 300.0
"""After which a rank counts as hanging."""


class Ranks:
    """Processes that carry out functions together."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        context = get_context("spawn")
        pipes = [context.Pipe() for _ in range(count)]
        self.processes = [
            context.Process(target=_serve, args=(far, folder / "store", number, count), daemon=True)
            for number, (_, far) in enumerate(pipes)
        ]
        for process in self.processes:
            process.start()
        self.pipes = [near for near, _ in pipes]

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What a function gives on each rank."""
        task = pickle.dumps((function, arguments))
        for pipe in self.pipes:
            pipe.send_bytes(task)
        answers: list[Any] = []
        for number, pipe in enumerate(self.pipes):
            assert pipe.poll(SECONDS), f"rank {number} hangs"
            done, answer = pickle.loads(pipe.recv_bytes())
            assert done, f"rank {number}: {answer}"
            answers.append(answer)
        return answers

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


def _serve(pipe: Connection, store: Path, number: int, count: int) -> None:
    torch.set_num_threads(1)
    join(dist.FileStore(str(store), count), number, count)
    while True:
        function, arguments = pickle.loads(pipe.recv_bytes())
        try:
            answer = True, function(*arguments)
        except Exception:  # noqa: BLE001  whatever it is, the test is told
            answer = False, traceback.format_exc()
        pipe.send_bytes(pickle.dumps(answer))
        if not answer[0]:
            leave()
            return


@dataclass(frozen=True, kw_only=True)
class Case:
    """Something to train for some steps.

    Attributes:
        model: with its initial weights.
        balance: of its tasks.
        config: has an ``optimizer``.
        batches: the steps.
        settings: of the loop.
        losses: of the tasks.
        compare: whether gradients are compared in each step.
        sharded: whether each rank holds its rows of embedding tables.
    """

    model: nn.Module
    balance: Balancing
    config: DictConfig
    batches: list[Batch]
    settings: Settings
    losses: TaskLosses
    compare: bool = False
    sharded: bool = False


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Everything that a case has changed, and what it measured."""

    tensors: dict[str, Tensor] = field(default_factory=dict)

    def difference(self, other: "Trained") -> float:
        """The largest, of numbers that are finite in both or in neither."""
        assert self.tensors.keys() == other.tensors.keys()
        largest = 0.0
        for name, x in self.tensors.items():
            y = other.tensors[name]
            assert x.shape == y.shape, name
            assert torch.equal(x.isfinite(), y.isfinite()), name
            if x.numel():
                largest = max(largest, float((x.double() - y.double()).nan_to_num(0, 0, 0).abs().max()))
        return largest


def train_steps(case: Case) -> Trained:
    """Train on the batches, or on this rank's parts of them."""
    case = pickle.loads(pickle.dumps(case)) if alone() else case  # ranks have received a copy
    torch.manual_seed(3)
    model = see_whole_batches(case.model.train())
    if case.sharded and not alone():
        shard(model)
        assert shards_of(model)
    groups = parameter_groups(model)
    shared = SharedGradients(
        tasks=len(case.losses.given),
        tables=groups["embedding"],
        dense=groups["gate"] + groups["dense"],
        shards=shards_of(model),
    )
    step = Step(
        model=model,
        compiled=torch.compile(model, dynamic=False) if case.settings.compile else model,
        optimizers=build_run_optimizers(case.config, model),
        objective=Objective(losses=case.losses, balance=case.balance),
        shared=shared,
        penalties=penalties_of(model),
        settings=case.settings,
    )
    measured = {}
    for number, batch in enumerate(case.batches):
        own = part_of_batch(0, len(batch))
        assert alone() or own.stop - own.start < len(batch)
        terms_N, cosine_TT = step(rows_of(batch, own), case.compare)
        measured[f"terms {number}"] = terms_N
        if cosine_TT is not None:
            measured[f"cosines {number}"] = cosine_TT
    if isinstance(case.balance, AfterEpoch):
        case.balance.after_epoch()
    step.finish()
    state = {f"model.{name}": whole(x) for name, x in model_state(model).items()}
    state |= {f"balance.{name}": x for name, x in case.balance.state_dict().items() if isinstance(x, Tensor)}
    return Trained(tensors={name: x.detach().clone() for name, x in (state | measured).items()})


def shard(model: nn.Module) -> None:
    """Keep this rank's rows of whole tables."""
    for block in model.modules():
        if hasattr(block, "held"):
            block.held = range(rank(), block.held.stop, rank_count())
            block.embedding = nn.Parameter(block.embedding.detach()[rank() :: rank_count()].clone())


def whole(x: Tensor | TableRows) -> Tensor:
    """The rows of all ranks."""
    if not isinstance(x, TableRows):
        return x
    parts = dict(enumerate(gather_objects(x.part(rank(), rank_count()).detach())))
    return replace(x, parts=parts).copied(range(x.rows))


def rows_of(batch: Batch, rows: slice) -> Batch:
    columns = {name: getattr(batch, name) for name in Batch.__slots__}
    return Batch(**{name: None if column is None else column[rows] for name, column in columns.items()})


def what_ranks_do() -> dict[str, Any]:
    """One call of each function with which ranks do something together."""
    with first_goes_ahead():
        turn = time.monotonic()
        time.sleep(0.02 if is_first() else 0)
    return {
        "turn": turn,
        "parts": [part(5, 5 + rows) for rows in (2, 7, 8)],
        "first": on_first(lambda: f"of rank {rank()}"),
        "any": any_rank(rank() == 1),
        "rows": rows_over_ranks([torch.arange(2)] if is_first() else []).tolist(),
        "written": first_only(rank)(),
    }


def facts_that_differ() -> str:
    try:
        agree({"code": 1, "seed": rank()}, "Start both with one seed")
    except ValueError as error:
        return str(error)
    return ""


def noise_by_other_means() -> str:
    torch.manual_seed(0)
    torch.rand(1 + rank())
    try:
        check_noise(nn.Linear(1, 1))
    except ValueError as error:
        return str(error)
    return ""
