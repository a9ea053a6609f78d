"""Adapts a paper's settings that depend on its data to simulated or scaled data.

With a hundredth of the rows, an epoch has a hundredth of the steps: at the paper's learning rate, weights do not get as
far, gates do not close, and another number of epochs may be right. Class weights of the paper's data are wrong if
positives are more frequent. Settings are adapted by the rules of `carry_over`; remaining differences are marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from mtlbench.experiment.data import DataSource

FEWER = 0.5
"""Budgets below this fraction of the paper's steps are marked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CarriedOver:
    """A configuration with a paper's settings adapted to other data.

    Attributes:
        config: the adapted configuration.
        steps: number of steps of the paper's setting on the published rows; ``None`` if the number of rows is unknown,
            with early stopping, or for real data.
        notes: the changes, as sentences.
    """

    config: DictConfig
    steps: int | None = None
    notes: tuple[str, ...] = ()


def carry_over(
    config: DictConfig, data: DataSource, published: int, stated: Sequence[str], *, same_steps: bool
) -> CarriedOver:
    """Adapt settings to simulated data; for real data they are unchanged.

    - Class weights that are set only by the profile (``loss.pos_weight``) become ``balanced``, the class ratios of the
      data at hand.
    - With `same_steps`, training takes as many steps as its epochs would take on the published training rows, with as
      many evaluations: ``trainer.epochs`` is replaced by ``trainer.steps`` and ``trainer.evaluate_every``, so that a
      patience is the same number of steps too.

    Args:
        config: configuration of a run.
        data: its data.
        published: number of published training rows; 0 if unknown.
        stated: overrides of the row, the data set and the user, which take precedence over the profile.
        same_steps: see above.
    """
    if data.origin != "simulated":
        return CarriedOver(config=config)
    weights, trainer = config.loss.pos_weight, config.trainer
    notes: list[str] = []
    changes: dict[str, Any] = {}
    if isinstance(weights, ListConfig) and not any(word.startswith("loss") for word in stated):
        changes["loss.pos_weight"] = "balanced"
        notes.append(f"loss.pos_weight=balanced, by the rates of these rows, for {list(weights)} of the paper's data")
    epoch, steps = -(-published // trainer.batch_size), None
    if epoch and trainer.epochs is not None and trainer.steps is None:
        paper = trainer.epochs * epoch
        if same_steps:
            changes |= {"trainer.steps": paper, "trainer.evaluate_every": epoch, "trainer.epochs": None}
            notes.append(f"{paper:,} steps at most, as {trainer.epochs} epochs of {published:,} published rows make")
        steps = paper if trainer.patience is None else None
    if changes:
        config = config.copy()
        for key, value in changes.items():
            OmegaConf.update(config, key, value)
    return CarriedOver(config=config, steps=steps, notes=tuple(notes))
