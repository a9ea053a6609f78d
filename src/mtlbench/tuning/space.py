"""Search spaces: the tuned keys and their values."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictInt, ValidationError, model_validator

from mtlbench.experiment.effect import without_effect
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.plain import read_mapping

TUNABLE = ("model", "profile", "optimizer", "scheduler", "loss", "balancing", "virtual_gradient")
"""Groups whose keys can be tuned."""

OF_THE_TRAINER = ("trainer.batch_size", "trainer.clip")
"""Other keys that can be tuned. Keys of the budget cannot: it is the same for all trials and models."""

DIGITS = 4
"""Significant digits of a tuned number: enough for any hyperparameter, and readable."""

Positive = Annotated[FiniteFloat, Field(gt=0)]


class Values(BaseModel):
    """The values of a key, in one of four forms.

    Attributes:
        log: bounds, above 0, of a number drawn uniformly on a log scale.
        uniform: bounds of a number.
        whole: bounds of an integer; ``int`` in YAML.
        choice: a list of values, which may be lists.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    log: tuple[Positive, Positive] | None = None
    uniform: tuple[FiniteFloat, FiniteFloat] | None = None
    whole: Annotated[tuple[StrictInt, StrictInt] | None, Field(alias="int")] = None
    choice: Annotated[list[Any] | None, Field(min_length=1)] = None

    @model_validator(mode="after")
    def _one_form(self) -> "Values":
        if sum(form is not None for form in (self.log, self.uniform, self.whole, self.choice)) != 1:
            raise ValueError("expected one of log, uniform, int, choice")
        if (bounds := self.log or self.uniform or self.whole) is not None and bounds[0] >= bounds[1]:
            raise ValueError(f"{bounds[0]} is not below {bounds[1]}")
        return self

    @property
    def distribution(self) -> BaseDistribution:
        """Optuna's distribution of these values; choices are stored as text."""
        if self.log is not None:
            return FloatDistribution(*self.log, log=True)
        if self.uniform is not None:
            return FloatDistribution(*self.uniform)
        if self.whole is not None:
            return IntDistribution(*self.whole)
        return CategoricalDistribution([json.dumps(value) for value in self.choice or ()])


Space = Mapping[str, Values]


def read_space(file: Path) -> Space:
    """The search space in a YAML file: a mapping from keys, such as ``optimizer.lr``, to `Values`.

    Raises:
        ConfigError: the file does not exist or is not a mapping, a key is not tunable, or values have another form.
    """
    content = read_mapping(file)
    space: dict[str, Values] = {}
    for key, form in content.items():
        if str(key).partition(".")[0] not in TUNABLE and key not in OF_THE_TRAINER:
            raise ConfigError(
                f"{file}: {key} cannot be tuned; allowed: keys of {', '.join((*TUNABLE, *OF_THE_TRAINER))}. "
                "Data, seed and budget are the same for all trials"
            )
        try:
            space[str(key)] = Values.model_validate(form)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise ConfigError(
                f"{file}: {key}: {f'{where}: ' if where else ''}{problem['msg']}. Write {{log: [low, high]}}, "
                "{uniform: [low, high]}, {int: [low, high]} or {choice: [value, ...]}"
            ) from error
    return space


def model_space(config: DictConfig, default: Path | None, own: Path | None, fixed: Sequence[str]) -> Space:
    """The search space of a model.

    Args:
        config: the composed configuration, references unresolved.
        default: file of the space for all models, of which only keys used by the model are taken.
        own: file of the space for this model, whose keys are added or override the default ones.
        fixed: overrides of the user, whose keys are not searched.

    Raises:
        ConfigError: see `read_space`; the model lacks a key of its own file; no key is left to tune.
    """
    common = {} if default is None else read_space(default)
    particular = {} if own is None else read_space(own)
    set_keys = [word.lstrip("+").partition("=")[0] for word in fixed]
    free = [key for key in {**common, **particular} if not any(_inside(key, parent) for parent in set_keys)]
    unusable = {key: reason for key in free if (reason := _lacking(config, key))}
    for key, reason in unusable.items():
        if key in particular:
            raise ConfigError(f"{own}: {key}: {reason}. Remove the key from the search space")
    space = {key: particular.get(key) or common[key] for key in free if key not in unusable}
    if not space:
        raise ConfigError(
            f"model={config.run.choices.model}: no key is left to tune. The command line sets "
            f"{', '.join(set_keys) or 'no key'}; the model uses none of the other keys of {own or default}"
        )
    return space


def as_words(params: Mapping[str, Any]) -> list[str]:
    """Optuna's suggested values as overrides, with numbers rounded to `DIGITS` significant digits."""
    return [f"{key}={value if isinstance(value, str) else _number(value)}" for key, value in params.items()]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(f"{value:.{DIGITS}g}"))


def _inside(key: str, parent: str) -> bool:
    return key == parent or key.startswith(f"{parent}.")


def _lacking(config: DictConfig, key: str) -> str | None:
    """Why a key does not reach a model."""
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    if not isinstance(node, DictConfig) or leaf not in node:
        return f"model={config.run.choices.model} has no such key"
    return next((reason for _, reason in without_effect(config, [f"{key}="])), None)
