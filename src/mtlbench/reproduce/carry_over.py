"""Settings of a paper whose meaning depends on its data, where these are simulated or scaled.

An epoch of a hundredth of the rows is a hundredth of the steps: at the paper's learning rate no weight gets where it
got, no gate closes, and more epochs or none at all may be right. Class weights of the paper's data are wrong where
positives are more frequent. What can be is carried over by the rules of `carry_over`; what remains is marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from mtlbench.experiment.data import DataSource

FEWER = 0.5
"""Share of the paper's steps below which a budget is marked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CarriedOver:
    """A configuration with a paper's settings carried over to other data.

    Attributes:
        config: the configuration.
        steps: that the paper's setting makes of the published rows; ``None`` where the rows are not known, where early
            stopping ends training, or where the data are the real ones.
        notes: what was changed, as sentences.
    """

    config: DictConfig
    steps: int | None = None
    notes: tuple[str, ...] = ()


def carry_over(
    config: DictConfig, data: DataSource, published: int, stated: Sequence[str], *, same_steps: bool
) -> CarriedOver:
    """Carry settings over to simulated data; real data keep them as they are.

    - Class weights that only the profile states (``loss.pos_weight``) become the rates of the data at hand,
      ``balanced``.
    - With `same_steps`, training takes the steps that its epochs make of the published training rows, and is evaluated
      as often: ``trainer.steps`` and ``trainer.evaluate_every`` for ``trainer.epochs``, so that a patience means the
      same number of steps too.

    Args:
        config: of a run.
        data: that it learns from.
        published: number of published training rows; 0 where nobody says.
        stated: overrides of the row, the data set and the user, which are stronger than the profile's.
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
