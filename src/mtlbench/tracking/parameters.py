"""Run configurations as MLflow parameters: flat names, text values, within MLflow's limits."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mtlbench.tracking.files import DamagedFileError, read_content

NOT_IDENTITY = ("run", "profile", "tuned", "hydra")
"""Keys outside the identity: location, execution, and profile and tuned settings, which act through other keys."""

LOCATION_KEYS = ("raw", "source")
"""Keys of a data set's configuration for the location of the data, not their content."""

LONGEST_VALUE = 6000
"""Maximum length of a parameter's value in MLflow, in characters."""

DEEPEST = 2000
"""Maximum levels of nesting for libyaml's loader."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-. ]*")


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run as plain values.

    Raises:
        DamagedFileError: the file is missing or cannot be read, or is not a YAML mapping.
    """
    remedy = "Restore it, or train the run again with run.fresh=true"
    content = read_content(path, remedy)
    try:
        config = yaml.load(content, _loader(content))  # both loaders are safe
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an invalid date, or invalid UTF-8
        problem = " ".join(str(error).split())  # on one line
        raise DamagedFileError(f"{path} is damaged: {problem}. {remedy}") from error
    if not isinstance(config, dict):
        raise DamagedFileError(f"{path} is damaged: it holds {type(config).__name__}, expected a mapping. {remedy}")
    return config


def _loader(content: bytes) -> Any:
    """libyaml's safe loader, eight times as fast as Python's, if the file cannot be deeply nested.

    libyaml overflows the stack at some ten thousand levels. A level takes a bracket or, in block style, a line that is
    indented further, so that n levels take n²/2 bytes.
    """
    signs = sum(content.count(sign) for sign in (b"[", b"{", b"-", b"?"))
    shallow = signs <= DEEPEST and len(content) <= DEEPEST**2 // 2
    return yaml.CSafeLoader if shallow and yaml.__with_libyaml__ else yaml.SafeLoader


def identity_config(config: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The part of a configuration that determines the run's identity; all other keys may differ when it is resumed.

    It includes a simulator's settings only if the data were simulated with them, not if the data are real or were read
    from a given folder.
    """
    made_here = origin == "simulated" and (config.get("dataset") or {}).get("raw") is None
    hidden = LOCATION_KEYS if made_here else (*LOCATION_KEYS, "simulator")
    return _without_folders(_without(config, NOT_IDENTITY, dataset=hidden))


def shareable_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without information private to this machine: paths, and the tracker's password."""
    return _without_folders(_without(config, ("run",), dataset=("raw",)))


def differences(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The keys, by flat name, in which the configurations of several runs differ, without the seed.

    The keys of a group are only compared between runs of the same choices, since ``optimizer=sgd`` implies the values
    in its file. A group added in a later version is ``none`` in earlier runs. Of keys with the same values in every run
    (a reference and its target), only the shortest is returned.
    """
    chosen = [_choices(config) for config in configs]
    flat = [flatten(_without(config, (*NOT_IDENTITY, "seed"), dataset=LOCATION_KEYS)) for config in configs]
    alike: dict[str, list[dict[str, str]]] = {}
    for choices, values in zip(chosen, flat, strict=True):
        alike.setdefault(json.dumps(choices, sort_keys=True), []).append(values)
    keys = {key for runs in alike.values() for key in runs[0] if _differs(key, runs)}
    groups = {group for choices in chosen for group in choices if len({each.get(group, "none") for each in chosen}) > 1}
    columns: dict[tuple[str | None, ...], str] = {}
    for name in [*sorted(groups), *sorted(keys, key=lambda key: (len(key), key))]:
        columns.setdefault(tuple(run.get(name) for run in (chosen if name in groups else flat)), name)
    return [
        {name: value for values, name in columns.items() if (value := values[at]) is not None}
        for at in range(len(configs))
    ]


def _choices(config: Mapping[str, Any]) -> dict[str, str]:
    """The choice of each group that is part of a run's identity."""
    run = config.get("run")
    choices = run.get("choices") if isinstance(run, Mapping) else None
    return {str(g): str(name) for g, name in choices.items() if g != "tracker"} if isinstance(choices, Mapping) else {}


def _differs(key: str, runs: Sequence[Mapping[str, str]]) -> bool:
    """Whether all runs have the value and it differs; runs of earlier versions lack later keys."""
    return all(key in run for run in runs) and len({run[key] for run in runs}) > 1


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """``{"model.experts": "8", ...}``: nested names joined by dots; texts unchanged, other values as JSON.

    A mapping with a key that is not a valid name in MLflow (``*embedding*``) becomes a single value.
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        _flatten(str(key), value, flat)
    return flat


def shorten(parameters: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Parameters within MLflow's limit, and the names of those whose values were shortened."""
    long = tuple(name for name, value in parameters.items() if len(value) > LONGEST_VALUE)
    return {name: value[:LONGEST_VALUE] for name, value in parameters.items()}, long


def _without(config: Mapping[str, Any], keys: Collection[str], *, dataset: Collection[str]) -> dict[str, Any]:
    """A configuration without the given keys, and without the given keys of its data set."""
    kept = {key: value for key, value in config.items() if key not in keys}
    if isinstance(chosen := kept.get("dataset"), Mapping):
        kept["dataset"] = {key: value for key, value in chosen.items() if key not in dataset}
    return kept


def _without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration in which paths of pretrained vectors are replaced by file names."""
    if isinstance(files := config.get("pretrained"), Mapping):
        with_names = {field: {**chosen, "file": Path(chosen["file"]).name} for field, chosen in files.items()}
        return config | {"pretrained": with_names}
    return config


def _flatten(name: str, value: Any, flat: dict[str, str]) -> None:
    if isinstance(value, Mapping) and value and all(_NAME.fullmatch(str(key)) for key in value):
        for key, inner in value.items():
            _flatten(f"{name}.{key}", inner, flat)
    else:
        flat[name] = value if isinstance(value, str) else json.dumps(value, default=str)
