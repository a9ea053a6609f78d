"""Log-odds with one mechanism that a multi-task model may exploit, or without it: one function each.

All are built from latent values ``z`` of ids (standard normal, mean 0 by popularity, several independent sets of them)
and from sub-functions of a few fields, ``u = (prod_f (1 + z_f) - 1) / sqrt(2^n - 1)`` of variance 1: main effects and
all interactions of the n fields. *Planted* and *removed* differ in the fields and the sub-functions that a task depends
on. `mtlbench.datasets.planted` then scales the log-odds, so that rates and ceilings are the same in both.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mtlbench.datasets.draws import Floats, Integers, RankedValues
from mtlbench.datasets.planted import Effects

SETS = 6
"""Independent sets of latent values."""
RANK = 3
"""Components of a latent value; all but histories use only the first."""
SOURCE_SHARES = (0.45, 0.45, 0.1)
"""Of the training rows; test rows are of the last source."""
SOURCE_SHIFTS = (0.8, -0.8, 0.0)
"""What a source adds to the standardised log-odds, where sources differ."""
CONTEXTS = 16
"""Values of the field that routes depend on."""
DECAY = 0.8
"""Weight of a history's entry, relative to the one before it."""

Ids = Mapping[str, Integers]
"""Ids of rows by field: ``[R]``; of a history ``[R, L]``."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Latent values of a world, and whether it has its mechanism.

    Attributes:
        fields: how many values each field has, and how popular they are.
        planted: whether the mechanism is present.
        seed: of the latent values and of routes.
    """

    fields: Mapping[str, RankedValues]
    planted: bool
    seed: int

    @cached_property
    def _effects(self) -> Effects:
        return Effects(seed=self.seed, tasks=SETS, vocabularies=self.fields, rank=RANK)

    def latent(self, name: str, values: Integers, latents: int | Integers = 0) -> Floats:
        """Latent values ``[..., RANK]`` of ids ``[...]`` of a field; ``latents`` is the set, or the set of each id."""
        return self._effects.factors[name][values, latents]

    def function(self, ids: Ids, names: Iterable[str], latents: int = 0) -> Floats:
        """A sub-function u of some fields, ``[R]``."""
        return interaction([self.latent(name, ids[name], latents)[:, 0] for name in names])

    def functions(self, ids: Ids, groups: Iterable[Sequence[str]], latents: int = 0) -> Floats:
        """Sub-functions of several groups of fields, ``[R, K]``."""
        return np.stack([self.function(ids, names, latents) for names in groups], axis=1)

    def routes(self) -> Integers:
        """The sub-function of two sets of routes in each context, ``[2, contexts]``; the two always differ."""
        random = np.random.default_rng([self.seed, 1 << 33])
        first = random.permutation(np.arange(CONTEXTS) % len(RING))
        return np.stack([first, (first + random.integers(1, len(RING), CONTEXTS)) % len(RING)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Mechanism:
    """A kind of world.

    Attributes:
        log_odds: ``[R, T]`` of rows, up to scale and intercept, as a function of the ids and, if any, the sources.
        fields: number of values of each field.
        tasks: T.
        skew: of the popularity of values, see `RankedValues`.
        history: length of the field ``history``, which has the values of ``item``; 0: there is none.
        shifting: fields whose popular values differ between sources; none: rows have no source.
    """

    log_odds: Callable[[World, Ids], Floats]
    fields: Mapping[str, int]
    tasks: int = 2
    skew: float = 1.5
    history: int = 0
    shifting: tuple[str, ...] = ()

    @property
    def vocabularies(self) -> dict[str, RankedValues]:
        return {name: RankedValues(size, self.skew) for name, size in self.fields.items()}


def interaction(parts: Sequence[Floats]) -> Floats:
    """``prod (1 + z) - 1`` of independent standard normal z, scaled to variance 1."""
    return (np.prod([1 + part for part in parts], axis=0) - 1) / np.sqrt(2.0 ** len(parts) - 1)


def numbered_fields(count: int, prefix: str = "field") -> tuple[str, ...]:
    return tuple(f"{prefix}_{number}" for number in range(1, count + 1))


FIELDS = numbered_fields(8)
RING = tuple((FIELDS[at], FIELDS[(at + 1) % 8]) for at in range(8))
"""Pairs of neighbours, eight in all."""
PAIRS = RING[::2]
"""Pairs without a common field, four in all."""
COMMON, FIRST, SECOND, USELESS = (numbered_fields(2, name) for name in ("both", "first", "second", "id"))


def task_fields(world: World, ids: Ids) -> Floats:
    """Fields that matter to only one task, and ids with many values that matter to none.

    Removed: all fields matter to both tasks, ids included.
    """
    own = ((*COMMON, *FIRST), (*COMMON, *SECOND))
    relevant = own if world.planted else ((*COMMON, *FIRST, *SECOND, *USELESS),) * 2
    return np.stack(
        [
            world.functions(ids, [names[at : at + 2] for at in range(0, len(names), 2)], task).sum(axis=1)
            for task, names in enumerate(relevant)
        ],
        axis=1,
    )


def shared_subfunctions(world: World, ids: Ids) -> Floats:
    """Three of eight sub-functions are common to the tasks, the others task-specific. Removed: all are common."""
    common = world.functions(ids, RING[::3]).sum(axis=1)
    others = [pair for at, pair in enumerate(RING) if at % 3]
    return np.stack(
        [common + world.functions(ids, others, task if world.planted else 1).sum(axis=1) for task in (1, 2)], axis=1
    )


def conflict(world: World, ids: Ids) -> Floats:
    """Eight sub-functions that both tasks need, four of them with opposite signs. Removed: with equal signs.

    Sub-functions with a common field have different latent values of it, otherwise opposite signs would cancel its
    main effect.
    """
    equal, opposite = (world.functions(ids, RING[at::2], latents=at).sum(axis=1) for at in (0, 1))
    return np.stack([equal + opposite, equal - opposite if world.planted else equal + opposite], axis=1)


def routing(world: World, ids: Ids) -> Floats:
    """The context determines which of eight sub-functions a task depends on, differently for each task.

    Removed: whatever the context, one task depends on four of them and the other task on the other four.
    """
    functions = world.functions(ids, RING)
    if not world.planted:
        return np.stack([functions[:, ::2].sum(axis=1), functions[:, 1::2].sum(axis=1)], axis=1)
    return np.stack([_routed(functions, route[ids["context"]]) for route in world.routes()], axis=1)


def routes_by_relevance(world: World, ids: Ids) -> Floats:
    """Routing in which two related tasks (their log-odds correlate at 0.9) need the same routes; a third is unrelated.

    Planted, the third task needs other routes to the same sub-functions; removed, the same routes to separate ones.
    """
    mine, other = (route[ids["context"]] for route in world.routes())
    common, second, third = (world.functions(ids, RING, latents) for latents in range(3))
    base = _routed(common, mine)
    related = 0.9 * base + np.sqrt(1 - 0.9**2) * _routed(second, mine)
    return np.stack([base, related, _routed(common, other) if world.planted else _routed(third, mine)], axis=1)


def window_order(world: World, ids: Ids) -> Floats:
    """Interactions of three consecutive windows of two fields, two of which are common to the tasks.

    Removed: their sum.
    """
    windows = [
        np.sum([world.latent(name, ids[name])[:, 0] for name in FIELDS[at : at + 2]], axis=0) / np.sqrt(2)
        for at in range(0, 8, 2)
    ]
    join = interaction if world.planted else sum
    return np.stack([join(windows[task : task + 3]) for task in (0, 1)], axis=1)


def high_order(world: World, ids: Ids) -> Floats:
    """Interactions of three and four fields. Removed: main effects of the same fields."""
    groups = (FIELDS[:3], FIELDS[3:6], FIELDS[4:])
    used = groups if world.planted else [(name,) for group in groups for name in group]
    return np.stack([world.functions(ids, used, task).sum(axis=1) for task in (0, 1)], axis=1)


def scenario_shift(world: World, ids: Ids) -> Floats:
    """Sources that differ in their popular values and rates; the effects of inputs are the same in all of them.

    Removed: sources are assigned at random and do not differ.
    """
    log_odds = np.stack([world.functions(ids, PAIRS, task).sum(axis=1) for task in (0, 1)], axis=1)
    shifts = np.array(SOURCE_SHIFTS if world.planted else (0.0,) * len(SOURCE_SHARES))
    return log_odds / np.sqrt(len(PAIRS)) + shifts[ids["source"], None]


def histories(world: World, ids: Ids) -> Floats:
    """Entries of the history count by their similarity to the item, the first ones most.

    Removed: the entries count independently of the item.
    """
    weights = DECAY ** np.arange(ids["history"].shape[1])
    tasks: list[Floats] = []
    for task in (0, 1):
        entries, item = (world.latent("item", ids[name], task) for name in ("history", "item"))
        alike = (entries * item[:, None]).sum(axis=2) if world.planted else np.sqrt(RANK) * entries[..., 0]
        main = world.functions(ids, [(name,) for name in FIELDS[:4]], task).sum(axis=1)
        tasks.append(alike @ weights + main)
    return np.stack(tasks, axis=1)


def task_neighbours(world: World, ids: Ids) -> Floats:
    """Every other value of a field has task-specific latent values. Removed: all values have common ones."""

    def function(names: Sequence[str], task: int) -> Floats:
        own = {name: (ids[name] % 2) * (task if world.planted else 0) for name in names}
        return interaction([world.latent(name, ids[name], own[name])[:, 0] for name in names])

    return np.stack([sum(function(names, task) for names in PAIRS) for task in (1, 2)], axis=1)


def _routed(functions: Floats, route: Integers) -> Floats:
    """The function that each row takes, ``[R]``."""
    return np.take_along_axis(functions, route[:, None], axis=1)[:, 0]


EIGHT = dict.fromkeys(FIELDS, 30)
ROUTED = {"context": CONTEXTS, **EIGHT}

MECHANISMS = {
    "task_fields": Mechanism(
        log_odds=task_fields,
        fields={**dict.fromkeys((*COMMON, *FIRST, *SECOND), 30), **dict.fromkeys(USELESS, 5000)},
    ),
    "shared_subfunctions": Mechanism(log_odds=shared_subfunctions, fields=EIGHT),
    "conflict": Mechanism(log_odds=conflict, fields=EIGHT),
    "routing": Mechanism(log_odds=routing, fields=ROUTED),
    "label_relevance": Mechanism(log_odds=routes_by_relevance, fields=ROUTED, tasks=3),
    "window_order": Mechanism(log_odds=window_order, fields=EIGHT),
    "high_order": Mechanism(log_odds=high_order, fields=EIGHT),
    "scenario_shift": Mechanism(log_odds=scenario_shift, fields=EIGHT, shifting=FIELDS[::2]),
    "histories": Mechanism(log_odds=histories, fields={"item": 60, **dict.fromkeys(FIELDS[:4], 30)}, history=8),
    "task_neighbours": Mechanism(log_odds=task_neighbours, fields=dict.fromkeys(FIELDS, 60)),
}
"""All mechanisms, by name."""
