"""Resolves the data set of a configuration: real or simulated files, fingerprint, prepared store.

The fingerprint is known before any row is parsed (real files are hashed, once), so that a run's identity is the same on
every machine.
"""

import hashlib
import json
import typing
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import DictConfig, OmegaConf

from mtlbench.data.store import Store, open_store
from mtlbench.data.subset import Subset
from mtlbench.experiment.build import build, call_checked
from mtlbench.experiment.errors import ConfigError
from mtlbench.experiment.plain import refuse_interpolations, reserved_keys
from mtlbench.experiment.schema_file import parse_schema
from mtlbench.experiment.subset import KEYS as SUBSET_KEYS
from mtlbench.experiment.subset import chosen_subset
from mtlbench.files import atomic
from mtlbench.ingest.checksums import raw_identity
from mtlbench.ingest.prepare import Provenance, prepare
from mtlbench.ingest.protocol import RawDataset, RawError
from mtlbench.locking import locked
from mtlbench.relabel.store import Relabel, relabelled
from mtlbench.tracking.parameters import LOCATION_KEYS

LATER_SPLIT_KEYS: dict[str, Any] = {"skip": 0}
"""Keys added to split rules later, with their defaults; at its default, a key is left out of the fingerprint."""

LATER_KEYS: dict[str, dict[str, Any]] = {"kuairand": {"compress": False}}
"""Keys added to data sets and readers later, with their defaults; at its default, a key is left out likewise."""

LATER_RULES = ("mtlbench.data.split.given",)
"""Split rules added later, which enter the fingerprint only if they are chosen."""

TASKS_IN_FINGERPRINT = ("aliccp", "aliexpress", "criteo", "ijcai15")
"""Data sets whose files name all their tasks: their fingerprints contain the tasks, those of others null."""


class SimulatedDataWarning(UserWarning):
    """The data are simulated, because no real files were found and none were required."""


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """The data of a configuration.

    Attributes:
        config: the data set's part of the configuration.
        reader: the reader of the raw files.
        origin: ``real``, or ``simulated`` by mtlbench.
        raw: folder of the raw files.
        fingerprint: hash of everything that determines the rows.
        store: folder of the prepared store.
        identity: the content of the fingerprint, before hashing.
        base: the data whose labels are replaced, if the configuration has ``relabel``.
        subset: the tasks and fields to read from the store; ``None`` for all of them.
    """

    config: DictConfig
    reader: RawDataset
    origin: Literal["real", "simulated"]
    raw: Path
    fingerprint: str
    store: Path
    identity: dict[str, Any]
    base: "DataSource | None" = None
    subset: Subset | None = None

    @property
    def made_here(self) -> bool:
        """Whether the raw files are simulated on demand, not given as a folder."""
        return self.origin == "simulated" and self.config.raw is None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that are read."""
        if self.subset is not None:
            return self.subset.tasks
        relabel: Relabel | None = build(self.config.relabel, "dataset.relabel") if "relabel" in self.config else None
        return tuple(task.name for task in (relabel or self.reader).tasks)


def resolve_data(dataset: DictConfig, folder: Path) -> DataSource:
    """Decide between real and simulated data, and compute the fingerprint, which names the store.

    Args:
        dataset: the data set's part of the configuration.
        folder: default parent folder of raw files, simulated files and stores.

    Raises:
        RawError: real files are required but missing.
        ConfigError: the configuration contradicts itself.
    """
    split_rule(dataset)
    if "relabel" in dataset:
        return _locate_relabelled(dataset, folder)
    raw_folder = None if dataset.raw is None else Path(dataset.raw)
    raw = raw_folder or folder / "raw" / dataset.name
    reader, subset = _reader(dataset, raw)
    plain = typing.cast(dict[str, Any], OmegaConf.to_container(dataset, resolve=True))
    kept = {
        key: value for key, value in plain.items() if key not in (*LOCATION_KEYS, *SUBSET_KEYS, "simulator", "metrics")
    }
    for key, default in LATER_KEYS.get(dataset.name, {}).items():
        if key in kept and kept[key] == default:
            del kept[key], kept["reader"][key]
    if subset is not None and kept["tasks"] != (names := [task.name for task in reader.tasks]):
        kept["tasks"] = names if dataset.name in TASKS_IN_FINGERPRINT else None
    kept["split"] = _without_defaults(kept["split"])
    if "splits" in kept:
        kept["splits"] = {
            name: _without_defaults(rule)
            for name, rule in kept["splits"].items()
            if name == dataset.split_rule or rule["_target_"] not in LATER_RULES
        }
    if _resolve_source(dataset.source, reader, raw, raw_folder) == "real":
        origin = "simulated" if (raw / "simulated.json").exists() else "real"
        files = raw_identity(reader.files, raw, folder / "checksums.json")
    else:
        origin = "simulated"
        files = {"simulator": reader.simulator_version, **plain["simulator"]}  # pyright: ignore[reportAttributeAccessIssue]
        raw = folder / "simulated" / dataset.name / _digest(kept | files)
    identity = {"reader": dataset.name, "version": reader.version, "dataset": kept, "origin": origin, "raw": files}
    fingerprint = _digest(identity)
    return DataSource(
        config=dataset,
        reader=reader,
        origin=origin,
        raw=raw,
        fingerprint=fingerprint,
        store=folder / "store" / dataset.name / fingerprint,
        identity=identity,
        subset=subset,
    )


def split_rule(dataset: DictConfig) -> DictConfig:
    """The configuration node of the split rule.

    Raises:
        ConfigError: the rule does not exist, or the node is not a mapping.
    """
    splits = dataset.get("splits", {})
    if not isinstance(splits, dict | DictConfig):
        raise ConfigError(f"dataset.splits is {splits!r}; expected split rules by name, as in the file of the data set")
    rules = list(splits)
    if rules and dataset.split_rule not in rules:
        raise ConfigError(
            f"dataset.split_rule={dataset.split_rule}: '{dataset.name}' has no such rule; allowed: {', '.join(rules)}"
        )
    if not isinstance(dataset.split, DictConfig):
        choice = f"choose a rule by its name, dataset.split_rule=<one of {', '.join(rules)}>"
        only = f"'{dataset.name}' has a single rule, whose keys can be set by dataset.split.<key>"
        raise ConfigError(f"dataset.split is {dataset.split!r}, which is not a rule: {choice if rules else only}")
    return dataset.split


def _without_defaults(rule: dict[str, Any]) -> dict[str, Any]:
    """A split rule without `LATER_SPLIT_KEYS` at their defaults."""
    return {key: value for key, value in rule.items() if key not in LATER_SPLIT_KEYS or value != LATER_SPLIT_KEYS[key]}


def _reader(dataset: DictConfig, raw: Path) -> tuple[RawDataset, Subset | None]:
    """The reader of the raw files, and the subset to read; a schema file is first read into the configuration.

    So the content of the schema file, not its path, enters the fingerprint and the configuration in a run's folder.
    """
    path = dataset.get("schema")
    if isinstance(path, str):
        dataset.schema = read_schema(Path(path))
    reader: RawDataset = build(dataset.reader, "dataset.reader")
    if dataset.source == "simulated" and not hasattr(reader, "simulate"):
        raise ConfigError(f"dataset.source=simulated: data set '{dataset.name}' has no simulator. {reader.where}")
    try:
        tasks = reader.tasks  # a schema is checked when it is first used
    except ValueError as error:  # it names the key in the schema, but not the file
        raise ConfigError(f"{path}: {error}" if isinstance(path, str) else str(error)) from error
    subset = chosen_subset(dataset, reader, tasks)
    in_folder: Callable[[Path], RawDataset] | None = getattr(reader, "in_folder", None)
    return (reader if in_folder is None else in_folder(raw)), subset


def read_schema(path: Path) -> dict[str, Any]:
    """The content of a schema file, the YAML description of a folder of files.

    Raises:
        ConfigError: the file does not exist, is not a YAML mapping, or has interpolations or keys that build objects.
    """
    if not path.is_file():
        raise ConfigError(f"dataset.schema={path}: no such file")
    try:
        content = parse_schema(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"dataset.schema={path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"dataset.schema={path}: it holds {type(content).__name__}; expected a mapping")
    refuse_interpolations(content, f"dataset.schema={path}")
    if reserved := next(reserved_keys(content), None):
        raise ConfigError(f"dataset.schema={path}: {reserved}: a schema is plain data and cannot build objects")
    return content


def _locate_relabelled(dataset: DictConfig, folder: Path) -> DataSource:
    """The data whose labels are replaced: the same raw files and inputs, with the reader's own name and tasks."""
    relabel: Relabel = build(dataset.relabel, "dataset.relabel")
    reader: RawDataset = build(dataset.reader, "dataset.reader")
    subset = chosen_subset(dataset, reader, relabel.tasks)
    plain = typing.cast(dict[str, Any], OmegaConf.to_container(dataset, resolve=True))
    settings = plain.pop("relabel")
    base_dataset = {key: value for key, value in plain.items() if key not in SUBSET_KEYS}
    base = resolve_data(
        OmegaConf.create(base_dataset | {"name": reader.name, "tasks": [task.name for task in reader.tasks]}), folder
    )
    identity = {"name": dataset.name, "base": base.identity, "relabel": settings, "version": relabel.version}
    fingerprint = _digest(identity)
    store = folder / "store" / dataset.name / fingerprint
    return replace(
        base, config=dataset, fingerprint=fingerprint, store=store, identity=identity, base=base, subset=subset
    )


def open_or_prepare(data: DataSource) -> Store:
    """Open the prepared store, with the selected tasks and fields; if missing, it is prepared (and simulated) first.

    Raises:
        StoreError: its content does not match its manifest; every file is verified once per process.
    """
    store = open_store(data.store) if data.store.exists() else _made(data)
    return replace(store, subset=data.subset).verify()


def _made(data: DataSource) -> Store:
    if data.base is not None:
        return relabelled(
            open_or_prepare(data.base),
            data.store,
            build(data.config.relabel, "dataset.relabel"),
            name=data.config.name,
            identity=data.identity,
            one_class=data.config.one_class,
        )
    if data.made_here:
        simulated(data)
    return prepare(
        data.reader,
        data.raw,
        data.store,
        split=build(data.config.split, "dataset.split"),
        provenance=Provenance(
            origin=data.origin, identity=data.identity, raw={} if data.made_here else data.identity["raw"]
        ),
        min_count=data.config.min_count,
        on_error=data.config.on_error,
        one_class=data.config.one_class,
        contradictions=data.config.get("contradictions", "fail"),
        disjoint=data.config.disjoint,
    )


def simulated(data: DataSource) -> Path:
    """The folder of simulated raw files, which is written first if it is missing; the write is atomic."""
    if not data.raw.exists():
        simulate(data.reader, data.config.simulator, data.raw)
    return data.raw


def simulate(reader: RawDataset, knobs: DictConfig, folder: Path) -> bool:
    """Write a simulated data set in its raw format, with the true probabilities, to a new folder; atomic.

    Returns:
        Whether this process wrote it; ``False`` if another process had just done so.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(folder.name + ".lock")):
        if folder.exists():
            return False
        with atomic(folder) as beside:
            beside.mkdir()
            _write(reader, knobs, beside)
    return True


def _write(reader: RawDataset, knobs: DictConfig, folder: Path) -> None:
    target: Callable[..., None] | None = getattr(reader, "simulate", None)
    if target is None:
        raise ConfigError(f"dataset '{reader.name}' has no simulator")
    values = typing.cast(dict[str, Any], OmegaConf.to_container(knobs, resolve=True))
    call_checked(target, {"folder": str(folder), **values}, "dataset.simulator")


def _resolve_source(source: str, reader: RawDataset, raw: Path, named: Path | None) -> Literal["real", "simulated"]:
    if source not in ("auto", "real", "simulated"):
        raise ConfigError(f"dataset.source is {source!r}; allowed: auto, real, simulated")
    if source == "simulated":
        if named is not None:
            raise ConfigError(
                f"dataset.source=simulated and dataset.raw={named} contradict each other; set only one of them"
            )
        return "simulated"
    missing = [file.name for file in reader.files if file.find(raw) is None]
    if not missing:
        return "real"
    if source == "auto" and named is None and not any((raw / file.name).exists() for file in reader.files):
        warnings.warn(
            f"SIMULATED DATA: no raw files of '{reader.name}' in {raw}, so the data are simulated, and every "
            "result is marked so. Put the real files there, name their folder with dataset.raw=<folder>, or set "
            "dataset.source=simulated to silence this warning.",
            SimulatedDataWarning,
            stacklevel=2,
        )
        return "simulated"
    raise RawError(f"raw files of '{reader.name}' missing or empty in {raw}: {', '.join(missing)}. {reader.where}")


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
