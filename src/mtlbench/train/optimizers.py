"""Optimizers by kind of parameter: embeddings, gates, and all that is dense besides."""

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
"""Rows of a table from which on deferred steps of Adam are faster than dense ones: W1 of `scripts/bench_train.py`."""

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
"""Hyper-parameters of optimizers by name, and what is allowed; torch's own classes accept more, infinity included."""


def parameter_groups(model: nn.Module, *, frozen: bool = False) -> dict[str, list[nn.Parameter]]:
    """Trainable parameters of a model by kind, which their names tell.

    Args:
        model: any.
        frozen: whether frozen parameters are among them.

    Returns:
        ``embedding``, ``gate`` and ``dense``, each parameter in exactly one of them.

    Raises:
        ValueError: the model has no parameter that is called an embedding, so a setting for embeddings would be void.
    """
    groups: dict[str, list[nn.Parameter]] = {"embedding": [], "gate": [], "dense": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or frozen:
            groups[_kind(name)].append(parameter)
    if not any(_kind(name) == "embedding" for name, _ in model.named_parameters()):
        raise ValueError(
            f"no parameter of {type(model).__name__} is named like {EMBEDDING_PATTERN!r}; found "
            f"{[name for name, _ in model.named_parameters()]}"
        )
    return groups


def _kind(name: str) -> str:
    if fnmatch(name, EMBEDDING_PATTERN):
        return "embedding"
    return "gate" if fnmatch(name, GATE_PATTERN) else "dense"


def freeze_parameters(model: nn.Module, kinds: Collection[str]) -> None:
    """Let parameters of some kinds keep their initial values: the control for a claim about what they learn.

    Raises:
        ValueError: the model has no parameter of a kind, or nothing is left to train.
    """
    if not kinds:
        return
    named = [(_kind(name), parameter) for name, parameter in model.named_parameters()]
    found = sorted({kind for kind, _ in named})
    for kind in kinds:
        if kind not in found:
            raise ValueError(
                f"optimizer.freeze has {kind!r}, and {type(model).__name__} has no such parameters; it has {found}"
            )
    for kind, parameter in named:
        if kind in kinds:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for _, parameter in named):
        raise ValueError(
            f"optimizer.freeze={list(kinds)} leaves nothing to train: {type(model).__name__} has {found}. "
            "Leave out a kind"
        )


def store_tables_in_bf16(model: nn.Module) -> None:
    """Store all embedding tables of a model in bfloat16, but for pretrained vectors: these stay as they were given.

    Raises:
        ValueError: the model has tables that blocks of its own look up, which may not turn their rows into float32.
    """
    tables = {block.embedding for block in model.modules() if isinstance(block, FieldEmbedding | CrossedFields)}
    vectors = {block.embedding for block in model.modules() if isinstance(block, PretrainedVectors)}
    others = {*parameter_groups(model, frozen=True)["embedding"]} - tables - vectors
    if names := [name for name, parameter in model.named_parameters() if parameter in others]:
        raise ValueError(
            f"optimizer.table_precision=bf16: {type(model).__name__} has tables of its own: {', '.join(names)}. Look "
            "ids up by mtlbench.nn.embedding.FieldEmbedding, or set optimizer.table_precision=fp32"
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
    """One optimizer for each kind of parameter that the model has and trains.

    Args:
        model: its embedding blocks are set to give sparse gradients or not.
        embedding: makes the optimizer of embedding tables.
        dense: makes the optimizer of dense parameters.
        gate: makes the optimizer of gates; ``None``: they are dense parameters like all others. Adam cancels a constant
            factor on a gradient, so the virtual gradient acts more directly under SGD (models of DEPHN, III-C).
        sparse: whether embedding tables receive gradients only for the rows of a batch.
        deferred_rows: rows of a table from which on the steps of `torch.optim.Adam` are deferred, see `DeferredAdam`;
            ``None``: of no table.
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
    """The same Adam with deferred steps of large tables; or the given optimizer, where it, or the model, has none.

    Only blocks that say which of their rows a batch reads (a method ``rows``) are asked for sparse gradients.
    """
    blocks = [block for block in model.modules() if hasattr(block, "rows") and hasattr(block, "sparse")]
    trained: list[Any] = [block for block in blocks if block.embedding.requires_grad]  # pyright: ignore[reportAttributeAccessIssue]
    tables = [block for block in trained if held_by(block).stop >= deferred_rows]  # of the whole table
    whole = any(getattr(block, "reads_whole_tables", False) for block in model.modules())
    if whole or not tables or type(optimizer) not in (Adam, AdamW) or not can_defer(optimizer.defaults):
        return optimizer
    for table in tables:
        table.sparse = True
    return DeferredAdam(optimizer.param_groups[0]["params"], tables, **optimizer.defaults)


def check_hyper_parameters(values: Mapping[str, Any], where: str) -> None:
    """Refuse values of an optimizer's arguments that lie outside of `RANGES`.

    Args:
        values: arguments by name; pairs such as ``betas`` are judged number by number.
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
    """One step on a parameter of two numbers with the gradients 1 and 0, to see that the optimizer descends.

    Args:
        factory: makes the optimizer.
        where: key of the optimizer in the configuration.
        sparse: whether the gradient is sparse.

    Returns:
        The size of the optimizer's state, in copies of the parameter (2 for Adam).

    Raises:
        ValueError: the optimizer refuses its arguments or this kind of gradient, or does not step downhill.
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
            f"{where}: a step from 0 along the gradients 1 and 0 leads to {down:g} and {still:g}; expected: downhill "
            "(below 0) and 0. Check lr, eps and maximize"
        )
    state = optimizer.state[parameter].values()
    return sum(value.numel() for value in state if isinstance(value, Tensor) and value.dim()) / parameter.numel()


def check_row_by_row(factory: OptimizerFactory, where: str, *, sparse: bool) -> None:
    """Refuse an optimizer that moves a row of a table by what is in other rows: those of a sharded table are elsewhere.

    Raises:
        ValueError: two halves of a table move otherwise than the whole.
    """
    start, gradient = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[2.0, -1.0], [0.5, 0.25]])

    def moved(rows: slice) -> Tensor:
        parameter = nn.Parameter(start[rows].clone())
        parameter.grad = gradient[rows].to_sparse(1) if sparse else gradient[rows].clone()
        factory([parameter]).step()
        return parameter.detach()

    if not torch.allclose(moved(slice(2)), torch.cat([moved(slice(1)), moved(slice(1, 2))]), rtol=1e-5, atol=0):
        raise ValueError(
            f"{where}: run.shard_tables=true needs an optimizer that moves each row of a table by itself, and this one "
            "looks at all of them. Choose another, or run.shard_tables=false"
        )


class LazyAdam(Optimizer):
    """Adam whose moments move only in the rows that a batch touches; for sparse gradients.

    An untouched row keeps its moments and its value, where exact Adam would decay the moments and go on moving it. The
    bias correction counts all steps, as in exact Adam. With every row touched in every step it *is* Adam.

    A table in bfloat16 (`mtlbench.nn.bf16_tables`) has its moments in bfloat16 too. The arithmetic of a step is that of
    float32, and all three are written back with stochastic rounding: to nearest, weights would not move by less than
    half a unit in the last place, 0.2 to 0.4 % of them, and the second moment, which moves by at most 0.1 % per step
    downwards, would never shrink. The noise of the second moment adds up to some 4 % of it, so to 2 % of a step's
    length.

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
        # Both moments of a row lie side by side: one gather and one scatter of whole cache lines.
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
    """Distinct rows of a sparse gradient and the sum of its entries in each."""
    gradient = gradient.coalesce()
    return gradient.indices()[0], gradient.values()
