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


def tuned_file(folder: Path, dataset: str, model: str, name: str | None = None) -> Path:
    """Path of a tuned file in a configuration folder, or in its subfolder `name` for another split of the data set."""
    return folder / "tuned" / dataset / (name or "") / f"{model}.yaml"


def check_replaceable(path: Path, data: str) -> None:
    """Check that a tuned file does not exist, or was tuned on the same data.

    Raises:
        ConfigError: it cannot be read, or belongs to other data.
    """
    if path.is_file() and (found := read_tuned(path).data) != data:
        raise ConfigError(
            f"{path} was tuned on data {found}, but these are {data}. To keep both, add --name NAME, which writes "
            f"{path.parent / 'NAME' / path.name}; otherwise remove the file"
        )


def write_tuned(path: Path, tuned: Tuned) -> None:
    """Write a tuned file, replacing an existing one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f"# Written by mtlbench tune; {tuned.model} on {tuned.dataset} uses it with tuned=true\n"
    write_beside(path, (text + yaml.safe_dump(asdict(tuned), sort_keys=False, width=120)).encode())


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
    """Overrides of the first tuned file of a configuration's model and data set that was tuned on its data.

    Raises:
        ConfigError: there is none, or one of the files cannot be read.
    """
    model, dataset = config.run.choices.model, config.run.choices.dataset
    paths = [path for folder in folders for path in _files(folder, dataset, model)]
    if not paths:
        raise ConfigError(
            f"tuned=true: there is no tuned/{dataset}/{model}.yaml in {', '.join(map(str, folders))}. "
            f"`mtlbench tune model={model} dataset={dataset} trials=24` writes one"
        )
    data = resolve_data(config.dataset, Path(config.run.data))
    found = {path: read_tuned(path) for path in paths}
    for tuned in found.values():
        if tuned.data == data.fingerprint:
            return tuned.overrides
    others = ", ".join(f"{path} on data {tuned.data}" for path, tuned in found.items())
    raise ConfigError(
        f"tuned=true: nothing was tuned on these data, {data.fingerprint} ({data.origin}), but {others}. "
        "Tune again on these data, or set the overrides explicitly: "
        f"{' '.join(next(iter(found.values())).overrides)}"
    )


def _files(folder: Path, dataset: str, model: str) -> list[Path]:
    """Tuned files of a model and data set in a configuration folder, those without a name first."""
    plain = tuned_file(folder, dataset, model)
    return [path for path in (plain, *sorted(plain.parent.glob(f"*/{plain.name}"))) if path.is_file()]
