"""Tuned settings: the file with a search's best settings, and its overrides for ``tuned=true``."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from omegaconf import DictConfig
from pydantic import ConfigDict, FiniteFloat, TypeAdapter, ValidationError, with_config

from mtlbench.experiment.data import resolve_data
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.plain import read_mapping
from mtlbench.files import write_beside

NOT_TUNED = ("run", "dataset", "tracker", "seed", "model", "tuned", "hydra")
"""Keys and groups that a tuned file must not set: it belongs to one model and data set, at any location and seed."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """The best trial of a search.

    Attributes:
        model, dataset: names of the choices.
        data: fingerprint of the data.
        overrides: all overrides of the best run: the user's, then the searched ones.
        score: validation score of the best run.
        untuned: validation score of the untuned settings; ``None`` where that run failed.
        run: identity of the best run.
        trials: number of trials.
        search: sampler, pruner and seed, as text.
    """

    model: str
    dataset: str
    data: str
    overrides: list[str]
    score: FiniteFloat
    run: str
    trials: int
    search: str
    untuned: FiniteFloat | None = None


def tuned_name(dataset: str, model: str) -> str:
    """Path of a tuned file in a configuration folder."""
    return f"tuned/{dataset}/{model}.yaml"


def write_tuned(folder: Path, tuned: Tuned) -> Path:
    """Write a tuned file to a configuration folder, replacing an existing one."""
    path = folder / tuned_name(tuned.dataset, tuned.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f"# Written by mtlbench tune; {tuned.model} on {tuned.dataset} uses it with tuned=true\n"
    write_beside(path, (text + yaml.safe_dump(asdict(tuned), sort_keys=False, width=120)).encode())
    return path


def may_be_tuned(word: str) -> bool:
    """Whether an override belongs to a tuned file, see `NOT_TUNED`."""
    key = word.lstrip("+").partition("=")[0]
    return key.partition(".")[0] not in NOT_TUNED or key.startswith("model.")


def read_tuned(path: Path) -> Tuned:
    """The content of a tuned file.

    Raises:
        ConfigError: it cannot be read, has unknown keys, or has overrides outside the model and its training.
    """
    try:
        tuned = TypeAdapter(Tuned).validate_python(read_mapping(path))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise ConfigError(f"{path}: {where}: {problem['msg']}. `mtlbench tune` writes such files") from error
    if invalid := [word for word in tuned.overrides if not may_be_tuned(word)]:
        raise ConfigError(f"{path}: overrides: {invalid[0]} cannot be tuned; not allowed: {', '.join(NOT_TUNED)}")
    return tuned


def tuned_overrides(config: DictConfig, folders: Sequence[Path]) -> list[str]:
    """Overrides of the tuned file of a configuration's model and data set, in the first folder that has one.

    Raises:
        ConfigError: no folder has one, it cannot be read, or it belongs to other data.
    """
    model, dataset = config.run.choices.model, config.run.choices.dataset
    name = tuned_name(dataset, model)
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        raise ConfigError(
            f"tuned=true: there is no {name} in {', '.join(map(str, folders))}. "
            f"`mtlbench tune model={model} dataset={dataset} trials=24` writes one"
        )
    tuned = read_tuned(path)
    data = resolve_data(config.dataset, Path(config.run.data))
    if data.fingerprint != tuned.data:
        raise ConfigError(
            f"tuned=true: {path} was tuned on data {tuned.data}, but these are {data.fingerprint} ({data.origin}). "
            "Tune again on these data, or set the overrides explicitly: "
            f"{' '.join(tuned.overrides)}"
        )
    return tuned.overrides
