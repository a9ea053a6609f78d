"""Optimizers by kind of parameter: embedding tables, gates, and other dense parameters."""

from collections.abc import Callable, Collection, Iterable, Mapping
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from mtlbench.nn.bf16_tables import stochastically_rounded, store_in_bf16
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.nn.pretrained import PretrainedVectors
from mtlbench.nn.wide import CrossedFields
from mtlbench.train.deferred_adam import DeferredAdam, can_defer, held_by

EMBEDDING_PATTERN = "*embedding*"
GATE_PATTERN = "*gate*"

DEFERRED_ROWS = 1 << 17
"""Number of rows of a table above which deferred Adam is faster than dense: workload W1 of `scripts/bench_train.py`."""

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]

RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "lr": (lambda value: value > 0, "above 0"),
    "betas": (lambda value: 0 <= value < 1, "from 0 to below 1"),
    "momentum": (lambda value: 0 <= value < 1, "from 0 to below 1"),
    "dampening": (lambda value: 0 <= value < 1, "from 0 to below 1"),
    "alpha": (lambda value: 0 <= value < 1, "from 0 to below 1"),
    "rho": (lambda value: 0 <= value < 1, "from 0 to below 1"),
    "eps": (lambda value: 0 < value <= 1, "above 0, and 1 at most"),
    "weight_decay": (lambda value: value >= 0, "0 or more"),
    "lr_decay": (lambda value: value >= 0, "0 or more"),
    "initial_accumulator_value": (lambda value: value >= 0, "0 or more"),
}
"""Hyper-parameters of optimizers and their ranges; torch's own classes accept more, including infinity."""


def parameter_groups(model: nn.Module, *, frozen: bool = False) -> dict[str, list[nn.Parameter]]:
    """Trainable parameters of a model by kind, determined from their names.

    Args:
        model: any model.
        frozen: whether to include frozen parameters.

    Returns:
        The parameters under ``embedding``, ``gate`` and ``dense``, each in exactly one of them.

    Raises:
        ValueError: no parameter is named an embedding, so settings for embeddings would have no effect.
    """
    groups: dict[str, list[nn.Parameter]] = {"embedding": [], "gate": [], "dense": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or frozen:
            groups[_kind(name)].append(parameter)
    if not any(_kind(name) == "embedding" for name, _ in model.named_parameters()):
        raise ValueError(
            f"no parameter name of {type(model).__name__} matches {EMBEDDING_PATTERN!r}; found "
            f"{[name for name, _ in model.named_parameters()]}"
        )
    return groups


def _kind(name: str) -> str:
    if fnmatch(name, EMBEDDING_PATTERN):
        return "embedding"
    return "gate" if fnmatch(name, GATE_PATTERN) else "dense"


def freeze_parameters(model: nn.Module, kinds: Collection[str]) -> None:
    """Freeze the parameters of some kinds at their initial values, as a control for claims about what they learn.

    Raises:
        ValueError: the model has no parameter of a kind, or nothing is left to train.
    """
    if not kinds:
        return
    by_kind = [(_kind(name), parameter) for name, parameter in model.named_parameters()]
    present = sorted({kind for kind, _ in by_kind})
    for kind in kinds:
        if kind not in present:
            raise ValueError(
                f"optimizer.freeze has {kind!r}, but {type(model).__name__} has no such parameters; it has {present}"
            )
    for kind, parameter in by_kind:
        if kind in kinds:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for _, parameter in by_kind):
        raise ValueError(
            f"optimizer.freeze={list(kinds)} leaves nothing to train: {type(model).__name__} has "
            f"{present}. Remove a kind"
        )


def store_tables_in_bf16(model: nn.Module) -> None:
    """Store all embedding tables of a model in bfloat16, except pretrained vectors.

    Raises:
        ValueError: the model has tables read by its own blocks, which might not convert their rows to float32.
    """
    tables = {block.embedding for block in model.modules() if isinstance(block, FieldEmbedding | CrossedFields)}
    vectors = {block.embedding for block in model.modules() if isinstance(block, PretrainedVectors)}
    unsupported = {*parameter_groups(model, frozen=True)["embedding"]} - tables - vectors
    if names := [name for name, parameter in model.named_parameters() if parameter in unsupported]:
        raise ValueError(
            f"optimizer.table_precision=bf16: {type(model).__name__} has its own tables: {', '.join(names)}. Use "
            "mtlbench.nn.embedding.FieldEmbedding for them, or set optimizer.table_precision=fp32"
        )
    for table in tables:
        store_in_bf16(table)


def build_optimizers(
    model: nn.Module,
    *,
    embedding: OptimizerFactory,
    dense: OptimizerFactory,
    gate: OptimizerFactory | None,
    sparse: bool,
    deferred_rows: int | None = None,
) -> list[Optimizer]:
    """One optimizer for each kind of trainable parameters that the model has.

    Args:
        model: the model; its embedding blocks are switched to sparse or dense gradients.
        embedding: builds the optimizer of embedding tables.
        dense: builds the optimizer of dense parameters.
        gate: builds the optimizer of gates; ``None`` treats them as dense parameters. Adam cancels a constant factor on
            a gradient, so the virtual gradient acts more directly under SGD (models of DEPHN, III-C).
        sparse: whether embedding tables receive gradients only for the rows of a batch.
        deferred_rows: minimum number of rows of a table for deferred steps of `torch.optim.Adam`, see `DeferredAdam`;
            ``None`` defers no table.
    """
    # torch warns unless this is set explicitly; its own sparse gradients satisfy the invariants.
    torch.sparse.check_sparse_tensor_invariants.disable()
    for module in model.modules():
        if hasattr(module, "sparse"):
            module.sparse = sparse  # pyright: ignore[reportArgumentType]
    groups = parameter_groups(model)
    if gate is None:
        groups["dense"] += groups.pop("gate")
    factories = {"embedding": embedding, "dense": dense, "gate": gate}
    optimizers = {kind: factories[kind](groups[kind]) for kind in groups if groups[kind]}  # pyright: ignore[reportOptionalCall]
    if deferred_rows is not None and not sparse and "embedding" in optimizers:
        optimizers["embedding"] = _deferred(model, optimizers["embedding"], deferred_rows)
    return list(optimizers.values())


def _deferred(model: nn.Module, optimizer: Optimizer, deferred_rows: int) -> Optimizer:
    """Adam with deferred steps for large tables, or the given optimizer if it cannot be deferred or no table is large.

    Only blocks with a method ``rows``, which returns the rows that a batch reads, are switched to sparse gradients.
    """
    blocks = [block for block in model.modules() if hasattr(block, "rows") and hasattr(block, "sparse")]
    trained: list[Any] = [block for block in blocks if block.embedding.requires_grad]  # pyright: ignore[reportAttributeAccessIssue]
    tables = [block for block in trained if held_by(block).stop >= deferred_rows]  # rows of the whole table
    reads_all = any(getattr(block, "reads_whole_tables", False) for block in model.modules())
    if reads_all or not tables or type(optimizer) not in (Adam, AdamW) or not can_defer(optimizer.defaults):
        return optimizer
    for table in tables:
        table.sparse = True
    return DeferredAdam(optimizer.param_groups[0]["params"], tables, **optimizer.defaults)


def check_hyper_parameters(values: Mapping[str, Any], where: str) -> None:
    """Reject values of an optimizer's arguments outside `RANGES`.

    Args:
        values: arguments by name; the numbers of a pair such as ``betas`` are checked one by one.
        where: key of the optimizer in the configuration.

    Raises:
        ValueError: with the key, the value and the range.
    """
    for name, (allowed, words) in RANGES.items():
        value = values.get(name)
        if isinstance(value, int | float | list | tuple):
            numbers = value if isinstance(value, list | tuple) else [value]
            if not all(isinstance(number, int | float) and allowed(number) for number in numbers):
                raise ValueError(f"{where}.{name} is {value}; allowed: {words}")


def trial_step(factory: OptimizerFactory, where: str, *, sparse: bool) -> float:
    """Take one step on a parameter of two numbers with gradients 1 and 0, to check that the optimizer descends.

    Args:
        factory: builds the optimizer.
        where: key of the optimizer in the configuration.
        sparse: whether the gradient is sparse.

    Returns:
        The size of the optimizer's state, in copies of the parameter (2 for Adam).

    Raises:
        ValueError: the optimizer rejects its arguments or this kind of gradient, or does not descend.
    """
    torch.sparse.check_sparse_tensor_invariants.disable()
    parameter = nn.Parameter(torch.zeros(2, 1))
    gradient = torch.tensor([[1.0], [0.0]])
    parameter.grad = gradient.to_sparse(1) if sparse else gradient
    try:
        optimizer = factory([parameter])
        optimizer.step()
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ValueError(f"{where} cannot step: {str(error).splitlines()[0]}") from error
    down, still = parameter.detach().flatten().tolist()
    if not -float("inf") < down < 0 or still != 0:
        raise ValueError(
            f"{where}: a step from 0 with gradients 1 and 0 leads to {down:g} and {still:g}; expected: below 0, and "
            "0. Check lr, eps and maximize"
        )
    state = optimizer.state[parameter].values()
    return sum(value.numel() for value in state if isinstance(value, Tensor) and value.dim()) / parameter.numel()


def check_row_by_row(factory: OptimizerFactory, where: str, *, sparse: bool) -> None:
    """Reject an optimizer whose update of a row depends on other rows, which in a sharded table are on other ranks.

    Raises:
        ValueError: the updates of two halves of a table differ from those of the whole table.
    """
    start, gradient = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[2.0, -1.0], [0.5, 0.25]])

    def moved(rows: slice) -> Tensor:
        parameter = nn.Parameter(start[rows].clone())
        parameter.grad = gradient[rows].to_sparse(1) if sparse else gradient[rows].clone()
        factory([parameter]).step()
        return parameter.detach()

    if not torch.allclose(moved(slice(2)), torch.cat([moved(slice(1)), moved(slice(1, 2))]), rtol=1e-5, atol=0):
        raise ValueError(
            f"{where}: run.shard_tables=true needs an optimizer that updates each row of a table independently, but "
            "this one uses all rows. Choose another, or set run.shard_tables=false"
        )


class LazyAdam(Optimizer):
    """Lazy Adam for sparse gradients: values and moments change only in the rows that a batch touches.

    An untouched row keeps its moments and its value, where exact Adam would decay the moments and keep moving it. The
    bias correction counts all steps, as in exact Adam. If every step touches every row, it is exact Adam.

    A table in bfloat16 (`mtlbench.nn.bf16_tables`) has its moments in bfloat16 too. A step is computed in float32, and
    all three are written back with stochastic rounding: rounding to nearest would lose every update below half a unit
    in the last place, 0.2 to 0.4 % of a weight, and the second moment, which decreases by at most 0.1 % per step, would
    never shrink. The noise of the second moment adds up to some 4 % of it, so to 2 % of a step's length.

    Args:
        params: tables ``[rows, width]`` that receive sparse gradients.
        lr: learning rate.
        betas: decay of the first and the second moment.
        eps: added to the root of the second moment.

    Raises:
        ValueError: a gradient is dense.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    if not parameter.grad.is_sparse:
                        raise ValueError(
                            f"LazyAdam needs sparse gradients; a table of shape {tuple(parameter.shape)} "
                            "has a dense one. Set `optimizer.sparse=true` or choose `optimizer=adam`."
                        )
                    self._step_rows(parameter, group)

    def _step_rows(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["moments"] = parameter.new_zeros(parameter.shape[0], 2, *parameter.shape[1:])
        state["step"] += 1
        beta1, beta2 = group["betas"]
        rows, gradient = coalesced(parameter.grad)  # pyright: ignore[reportArgumentType]
        # Both moments of a row are adjacent: one gather and one scatter of whole cache lines.
        moments = state["moments"].index_select(0, rows).to(gradient.dtype)
        first, second = moments[:, 0], moments[:, 1]
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = second.sqrt().div_((1 - beta2 ** state["step"]) ** 0.5).add_(group["eps"])
        moved, rate = first / root, -group["lr"] / (1 - beta1 ** state["step"])
        if parameter.dtype == torch.bfloat16:
            value = parameter.index_select(0, rows).to(gradient.dtype).add_(moved, alpha=rate)
            parameter.index_copy_(0, rows, stochastically_rounded(value))
            moments = stochastically_rounded(moments)
        else:
            parameter.index_add_(0, rows, moved, alpha=rate)
        state["moments"].index_copy_(0, rows, moments)


def coalesced(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct rows of a sparse gradient, and the sum of the entries of each row."""
    gradient = gradient.coalesce()
    return gradient.indices()[0], gradient.values()
