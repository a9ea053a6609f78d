"""Exact Adam at the cost of sparse updates: a table's rows are brought up to date when they are next read.

Adam moves a row in every step, also in steps without a gradient for it. The effect of k such steps after step t0
depends only on the moments m and v and on the step numbers, so it can be deferred until the row is read:

    p <- p - sum_(s = t0 + 1 .. t0 + k)  lr_s / c1_s * m b1^j / (sqrt(v b2^j) / c2_s + eps),        j = s - t0,
    m <- m b1^k,   v <- v b2^k,   with   c1_s = 1 - b1^s   and   c2_s = sqrt(1 - b2^s).

With ``y_s = c2_s / b2^(j / 2)`` and the weights ``w_s = lr_s b1^j / c1_s`` the sum is

    m sum_s w_s y_s / (sqrt(v) + eps y_s),

the integral of a smooth function of y. It is taken by Gauss quadrature with two nodes, those that reproduce the moments
``sum_s w_s y_s^n`` for n = -1 .. 2: exact to second order where eps is small beside sqrt(v), and again where sqrt(v) is
small beside eps. In between, the error is largest for a row deferred since step 1, 0.2 % of the sum, and decreases
quickly with t0 (y hardly changes from step 100 on). The moments

    S_n(t0) = sum_(s > t0) lr_s r_n^(s - t0) c2_s^n / c1_s,     r_n = b1 / b2^(n / 2),

depend on t0 alone and are stored for each t0 since all rows were last brought up to date. A step adds one term to each;
since r_n^j falls below rounding after some 400 steps, only the newest entries change. So no horizon must be known in
advance, and the learning rate may change arbitrarily from step to step.

With decoupled weight decay (AdamW) all rows shrink by ``1 - lr_s decay`` in each step before they move. With
``d_s = prod_(i <= s) (1 - lr_i decay)`` the row is scaled by ``d_t / d_t0`` and each term by ``d_t / d_s``; the moments
are kept of terms over d_s.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Adam

from mtlbench.distributed.gradients import rows_of_all_ranks
from mtlbench.distributed.sharded import is_shard, rows_asked_for
from mtlbench.schema import Batch

ORDERS = (-1, 0, 1, 2)
"""Orders n of the moments S_n."""

ROUNDING = 1e-18
"""Relative size below which a term of a moment is dropped."""

LONGEST_WINDOW = 10_000
"""Maximum number of entries that a step changes; slower decays require dense steps."""

CHUNK = 1 << 16
"""Number of rows that are brought up to date at once."""


class RowTable(Protocol):
    """A block for which the rows of its table read by a batch can be determined in advance."""

    embedding: nn.Parameter
    sparse: bool

    def rows(self, batch: Batch) -> Tensor:
        """Rows of the table that a forward pass on a batch reads, in any shape, possibly repeated."""
        ...


def held_by(table: RowTable) -> range:
    """The rows of a table that this process holds: all, unless its block is sharded."""
    return getattr(table, "held", range(len(table.embedding)))


def window(betas: tuple[float, float]) -> int | None:
    """Steps after which terms of the moments fall below rounding; ``None`` if too many."""
    first, second = betas
    if not 0 < first < second:
        return None
    steps = math.ceil(math.log(ROUNDING) / math.log(first / second))  # the slowest, r_2
    return steps if steps <= LONGEST_WINDOW else None


@dataclass(kw_only=True)
class MissedSteps:
    """Moments of the steps since all rows of a table were last up to date, see the module docstring.

    Attributes:
        base: step count when all rows were last up to date.
        steps: current step count.
        moments: float64 ``[4, C]``, S_n (`ORDERS`) of t0 = base + column; columns from `steps` on are zero.
        decays: float64 ``[C + 1]``, d_s of s = base + column.
    """

    base: int
    steps: int
    moments: Tensor
    decays: Tensor

    @classmethod
    def none(cls, steps: int, device: torch.device) -> "MissedSteps":
        return cls(
            base=steps,
            steps=steps,
            moments=torch.zeros(4, 1024, dtype=torch.float64, device=device),
            decays=torch.ones(1025, dtype=torch.float64, device=device),
        )

    def append(self, powers: Tensor, group: Mapping[str, Any]) -> None:
        """Add a step.

        Args:
            powers: float64 ``[4, window]``, r_n to the powers from the window down to 1.
            group: learning rate, betas and weight decay of the step.
        """
        done = self.steps - self.base
        if done == self.moments.shape[1]:
            self.moments = torch.cat([self.moments, torch.zeros_like(self.moments)], dim=1)
            self.decays = torch.cat([self.decays, torch.ones_like(self.decays[1:])])
        self.steps += 1
        lr, (beta1, beta2) = group["lr"], group["betas"]
        decay = float(self.decays[done]) * (1 - lr * group["weight_decay"])
        self.decays[done + 1] = decay
        root = math.sqrt(1 - beta2**self.steps)
        terms = torch.tensor([lr / decay * root**n / (1 - beta1**self.steps) for n in ORDERS], dtype=torch.float64)
        newest = min(powers.shape[1], done + 1)
        self.moments[:, done + 1 - newest : done + 1].addcmul_(
            powers[:, powers.shape[1] - newest :], terms[:, None].to(powers.device)
        )

    def quadrature(self, since: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quadrature nodes and weights of the sums from given step numbers, and the decay of the rows themselves.

        Args:
            since: step numbers ``[U]``, each from `base` to `steps` - 1.

        Returns:
            nodes y, float64 ``[2, U]``; weights w y at the nodes, ``[2, U]``, which include the learning rate; decays
            ``[U]``.
        """
        at = since - self.base
        size, *higher = self.moments[:, at]
        # Weights that are all 0 (a learning rate of 0) get nodes at 1, where nothing is divided by zero.
        first, second, third = (torch.where(size > 0, moment / size, 1.0) for moment in higher)
        variance = (second - first**2).clamp_min(0)
        skew = third - first * (3 * variance + first**2)
        skew = torch.where(variance > ROUNDING**0.5 * first**2, skew / variance, 0.0)
        spread = (skew**2 + 4 * variance).sqrt()
        lean = torch.where(spread > 0, skew / spread, 0.0)
        nodes = first + torch.stack([skew - spread, skew + spread]) / 2
        shares = torch.stack([1 + lean, 1 - lean]) / 2
        decay = self.decays[self.steps - self.base]
        return nodes, decay * size * shares * nodes**2, decay / self.decays[at]


@dataclass(kw_only=True)
class RowState:
    """Optimizer state of one table.

    Attributes:
        current: int32 ``[rows]``, step up to which each row is up to date.
        moments: ``[rows, 2, width]``, m and v side by side: one gather and one scatter of whole cache lines.
        missed: see `MissedSteps`.
    """

    current: Tensor
    moments: Tensor
    missed: MissedSteps


class DeferredAdam(Adam):
    """`torch.optim.Adam` (or AdamW) that accepts sparse gradients of some tables, and is equivalent to dense steps.

    Rows must be up to date when they are read: `prepare` must be called before each forward pass of training, and
    `finish` before anything else reads the tables. Other parameters take torch's own step.

    Departure: equal to dense steps up to rounding, not bit for bit: at lr 0.001, after 2,000 steps, within 1e-6 of
    float64, like torch's own float32 steps, and within 1e-5 for gradients as small as eps (in proportion to lr).

    Args:
        params: parameters, including the tables.
        tables: blocks whose tables receive sparse gradients.
        options: options of `torch.optim.Adam`; see `can_defer`.

    Raises:
        ValueError: a table has a dense gradient, or a gradient in rows that were not passed to `prepare`.
    """

    def __init__(self, params: Iterable[nn.Parameter], tables: Sequence[RowTable], **options: Any) -> None:
        super().__init__(params, **options)
        self._tables = {table.embedding: table for table in tables}
        (group,) = self.param_groups
        span = window(group["betas"])
        assert span is not None, "call `can_defer` first"
        ratios = torch.tensor([group["betas"][0] / group["betas"][1] ** (n / 2) for n in ORDERS], dtype=torch.float64)
        self._betas, self._powers = group["betas"], ratios[:, None] ** torch.arange(span, 0, -1)

    @property
    def tables(self) -> list[nn.Parameter]:
        """Tables whose steps are deferred."""
        return list(self._tables)

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Bring the rows up to date that a forward pass on a batch reads, on any rank."""
        for parameter, table in self._tables.items():
            if state := self.state.get(parameter):
                read, held = table.rows(batch).unique(), held_by(table)
                rows = rows_asked_for(read, held) if is_shard(held) else rows_of_all_ranks(read)
                self._catch_up(parameter, state["rows"], rows)

    @torch.no_grad()
    def finish(self) -> None:
        """Bring all rows up to date."""
        for parameter in self._tables:
            if state := self.state.get(parameter):
                rows: RowState = state["rows"]
                if rows.missed.steps > rows.missed.base:
                    for chunk in torch.arange(len(parameter), device=parameter.device).split(CHUNK):
                        self._catch_up(parameter, rows, chunk)
                    rows.missed = MissedSteps.none(rows.missed.steps, parameter.device)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update all parameters that have a gradient; gradients of tables are cleared."""
        (group,) = self.param_groups
        if tuple(group["betas"]) != tuple(self._betas):
            raise ValueError(
                f"the schedule changed the betas of deferred Adam from {self._betas} to {group['betas']}, which it "
                "does not support. Set scheduler.cycle_momentum=false, or optimizer.deferred_rows=null"
            )
        for parameter in self._tables:
            if parameter.grad is not None:
                self._step_rows(parameter, group)
                parameter.grad = None  # torch's step rejects sparse gradients
        super().step()

    def _step_rows(self, parameter: nn.Parameter, group: Mapping[str, Any]) -> None:
        assert parameter.grad is not None
        if not parameter.grad.is_sparse:
            raise ValueError(
                f"the table of shape {tuple(parameter.shape)} has a dense gradient, so code outside its block reads "
                "it. Set optimizer.deferred_rows=null"
            )
        if parameter not in self.state:
            self.state[parameter]["rows"] = _fresh(parameter)
        state: RowState = self.state[parameter]["rows"]
        gradient = parameter.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        if bool((state.current[rows] != state.missed.steps).any()):
            raise ValueError(
                f"the table of shape {tuple(parameter.shape)} has a gradient in rows that its block's method rows did "
                "not return. Set optimizer.deferred_rows=null"
            )
        state.missed.append(self._powers.to(parameter.device), group)
        (beta1, beta2), step = group["betas"], state.missed.steps
        moments = state.moments.index_select(0, rows)
        first, second = moments[:, 0], moments[:, 1]
        first.lerp_(values, 1 - beta1)
        second.mul_(beta2).addcmul_(values, values, value=1 - beta2)
        state.moments.index_copy_(0, rows, moments)
        root = second.sqrt().div_((1 - beta2**step) ** 0.5).add_(group["eps"])
        if group["weight_decay"]:
            shrink = 1 - group["lr"] * group["weight_decay"]
            parameter.index_copy_(0, rows, parameter.index_select(0, rows).mul_(shrink))
        parameter.index_add_(0, rows, first / root, alpha=-group["lr"] / (1 - beta1**step))
        state.current[rows] = step

    def _catch_up(self, parameter: nn.Parameter, state: RowState, rows: Tensor) -> None:
        since = state.current[rows].long()
        late = since < state.missed.steps
        rows, since = rows[late].long(), since[late]
        (group,) = self.param_groups
        nodes, weights, decay = state.missed.quadrature(since)
        nodes, weights = ((z[:, :, None]).to(parameter.dtype) for z in (group["eps"] * nodes, weights))
        moments = state.moments.index_select(0, rows)
        first, second = moments[:, 0], moments[:, 1]
        root = second.sqrt()
        moved = weights[0] / (root + nodes[0])
        moved.addcdiv_(weights[1], root.add_(nodes[1])).mul_(first)
        value = parameter.index_select(0, rows)
        if group["weight_decay"]:
            value.mul_(decay[:, None].to(value.dtype))
        parameter.index_copy_(0, rows, value.sub_(moved))
        missed = (state.missed.steps - since).double()
        shrink = torch.stack([beta**missed for beta in group["betas"]], dim=1)
        state.moments.index_copy_(0, rows, moments.mul_(shrink[:, :, None].to(moments.dtype)))
        state.current[rows] = state.missed.steps

    def state_dict(self) -> dict[str, Any]:
        """The state in torch's layout, with tensors and numbers only."""
        packed = super().state_dict()
        packed["state"] = {
            index: {"rows": vars(rows) | {"missed": vars(rows.missed)}} if (rows := state.get("rows")) else state
            for index, state in packed["state"].items()
        }
        return packed

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state from `state_dict`, or one of `torch.optim.Adam` for the same parameters."""
        (group,), (saved,) = self.param_groups, state_dict["param_groups"]
        places = zip(saved["params"], group["params"], strict=True)
        tables = {index: parameter for index, parameter in places if parameter in self._tables}
        other_state = {index: state for index, state in state_dict["state"].items() if index not in tables}
        super().load_state_dict(
            state_dict | {"state": other_state}
        )  # torch would cast all state to the parameter's type
        for index, parameter in tables.items():
            if index in state_dict["state"]:
                self.state[parameter] = {"rows": _restored(parameter, state_dict["state"][index])}


def can_defer(options: Mapping[str, Any]) -> bool:
    """Whether Adam with these options can be deferred: not with L2 weight decay (AdamW's is fine) or AMSGrad."""
    decays = options["weight_decay"]
    return (
        window(options["betas"]) is not None
        and (decays == 0 or (options["decoupled_weight_decay"] and options["lr"] * decays < 1))
        and not any(options[name] for name in ("amsgrad", "maximize", "capturable", "differentiable"))
    )


def _fresh(parameter: nn.Parameter) -> RowState:
    rows, *width = parameter.shape
    return RowState(
        current=torch.zeros(rows, dtype=torch.int32, device=parameter.device),
        moments=parameter.new_zeros(rows, 2, *width),
        missed=MissedSteps.none(0, parameter.device),
    )


def _restored(parameter: nn.Parameter, saved: Mapping[str, Any]) -> RowState:
    device = parameter.device
    if "exp_avg" in saved:  # state of torch's own Adam, in which every row is up to date
        step = int(saved["step"])
        return RowState(
            current=torch.full((len(parameter),), step, dtype=torch.int32, device=device),
            moments=torch.stack([saved["exp_avg"], saved["exp_avg_sq"]], dim=1).to(device),
            missed=MissedSteps.none(step, device),
        )
    rows = saved["rows"]
    missed = rows["missed"]
    return RowState(
        current=rows["current"].to(device, copy=True),
        moments=rows["moments"].to(device, copy=True),
        missed=MissedSteps(**missed | {name: missed[name].to(device, copy=True) for name in ("moments", "decays")}),
    )
