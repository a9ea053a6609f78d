"""Resolves the data set of a configuration: real or simulated files, fingerprint, prepared store.

What the data are is decided before any row is parsed (real files are hashed, once), so that a run's identity is known
on any machine.
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
"""Keys of split rules that came later, and their defaults, under which the data are those that they were without."""

LATER_KEYS: dict[str, dict[str, Any]] = {"kuairand": {"compress": False}}
"""Keys of data sets and their readers that came later, and their defaults, under which the data are the same."""

LATER_RULES = ("mtlbench.data.split.given",)
"""Split rules to choose from that came later, and count where they are chosen."""

TASKS_IN_FINGERPRINT = ("aliccp", "aliexpress", "criteo", "ijcai15")
"""Data sets whose files name all their tasks, which their fingerprints hold; those of others hold null."""


class SimulatedDataWarning(UserWarning):
    """The data are simulated, because no real files were found and none were asked for."""


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """The data that a configuration means.

    Attributes:
        config: the data set's part of the configuration.
        reader: what reads the raw files.
        origin: real, or simulated by us.
        raw: folder of the raw files.
        fingerprint: hash of everything that decides what the rows are.
        store: folder of the prepared store.
        identity: what was hashed into the fingerprint, in clear.
        base: the data whose labels are replaced, where the data set's configuration has a ``relabel``.
        subset: the tasks and fields of the store that are read; ``None``: all of them.
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
        """Whether the raw files are simulated on demand (and not a folder that someone named)."""
        return self.origin == "simulated" and self.config.raw is None


def resolve_data(dataset: DictConfig, folder: Path) -> DataSource:
    """Decide between real and simulated data, and name the store.

    Args:
        dataset: the data set's part of the configuration.
        folder: where raw files, simulated files and stores are kept by default.

    Raises:
        RawError: real files were asked for and are not there.
        ConfigError: the configuration contradicts itself.
    """
    split_rule(dataset)
    if "relabel" in dataset:
        return _locate_relabelled(dataset, folder)
    named = None if dataset.raw is None else Path(dataset.raw)
    raw = named or folder / "raw" / dataset.name
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
    if _resolve_source(dataset.source, reader, raw, named) == "real":
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
    """How rows are split: the node of the rule.

    Raises:
        ConfigError: there is no such rule, or a word stands in its place.
    """
    splits = dataset.get("splits", {})
    if not isinstance(splits, dict | DictConfig):
        raise ConfigError(f"dataset.splits is {splits!r}; expected split rules by name, as in the file of the data set")
    rules = list(splits)
    if rules and dataset.split_rule not in rules:
        raise ConfigError(
            f"dataset.split_rule={dataset.split_rule}: '{dataset.name}' has no such rule; there are: {', '.join(rules)}"
        )
    if not isinstance(dataset.split, DictConfig):
        choice = f"choose a rule by its name, dataset.split_rule=<one of {', '.join(rules)}>"
        own = f"'{dataset.name}' has one rule and no choice; leave it, or set its keys, dataset.split.<key>"
        raise ConfigError(f"dataset.split is {dataset.split!r}, which is no rule: {choice if rules else own}")
    return dataset.split


def _without_defaults(rule: dict[str, Any]) -> dict[str, Any]:
    """A split rule without `LATER_SPLIT_KEYS` at their defaults."""
    return {key: value for key, value in rule.items() if key not in LATER_SPLIT_KEYS or value != LATER_SPLIT_KEYS[key]}


def _reader(dataset: DictConfig, raw: Path) -> tuple[RawDataset, Subset | None]:
    """What reads the raw files, and what of them is asked for; a schema in a file of its own is read into the
    configuration first.

    The file may lie anywhere: what it says makes the data what they are, and is what a run's folder keeps.
    """
    path = dataset.get("schema")
    if isinstance(path, str):
        dataset.schema = read_schema(Path(path))
    reader: RawDataset = build(dataset.reader, "dataset.reader")
    if dataset.source == "simulated" and not hasattr(reader, "simulate"):
        raise ConfigError(f"dataset.source=simulated: data set '{dataset.name}' has no simulator. {reader.where}")
    try:
        tasks = reader.tasks  # a schema is checked when it is first used
    except ValueError as error:  # names the key of the schema, but not the file that it stands in
        raise ConfigError(f"{path}: {error}" if isinstance(path, str) else str(error)) from error
    subset = chosen_subset(dataset, reader, tasks)
    in_folder: Callable[[Path], RawDataset] | None = getattr(reader, "in_folder", None)
    return (reader if in_folder is None else in_folder(raw)), subset


def read_schema(path: Path) -> dict[str, Any]:
    """The YAML file that describes a folder of files.

    Raises:
        ConfigError: it is not there, is no YAML mapping, or has interpolations or keys that build objects.
    """
    if not path.is_file():
        raise ConfigError(f"dataset.schema={path}: there is no such file")
    try:
        content = parse_schema(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"dataset.schema={path}: it cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"dataset.schema={path}: it holds {type(content).__name__}; expected a mapping")
    refuse_interpolations(content, f"dataset.schema={path}")
    if reserved := next(reserved_keys(content), None):
        raise ConfigError(f"dataset.schema={path}: {reserved}: a schema is plain data, and builds nothing")
    return content


def _locate_relabelled(dataset: DictConfig, folder: Path) -> DataSource:
    """Data that have the raw files and the inputs of another data set, the one with the reader's own name and tasks."""
    relabel: Relabel = build(dataset.relabel, "dataset.relabel")
    reader: RawDataset = build(dataset.reader, "dataset.reader")
    subset = chosen_subset(dataset, reader, relabel.tasks)
    plain = typing.cast(dict[str, Any], OmegaConf.to_container(dataset, resolve=True))
    made = plain.pop("relabel")
    whole = {key: value for key, value in plain.items() if key not in SUBSET_KEYS}
    base = resolve_data(
        OmegaConf.create(whole | {"name": reader.name, "tasks": [task.name for task in reader.tasks]}), folder
    )
    identity = {"name": dataset.name, "base": base.identity, "relabel": made, "version": relabel.version}
    fingerprint = _digest(identity)
    store = folder / "store" / dataset.name / fingerprint
    return replace(
        base, config=dataset, fingerprint=fingerprint, store=store, identity=identity, base=base, subset=subset
    )


def open_or_prepare(data: DataSource) -> Store:
    """The prepared store, made first (and the data simulated first) where that has not been done; of its tasks and
    fields those that are asked for.

    Raises:
        StoreError: its content is not what its manifest says; every file is read once per process.
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
    """The folder of simulated raw files, written first where that has not been done; whole or not there at all."""
    if not data.raw.exists():
        simulate(data.reader, data.config.simulator, data.raw)
    return data.raw


def simulate(reader: RawDataset, knobs: DictConfig, folder: Path) -> bool:
    """Write a data set in its raw format, with its truth, into a new folder: whole, by one process, or not at all.

    Returns:
        Whether it was written; ``False`` if another process had just done so.
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
            raise ConfigError(f"dataset.source=simulated and dataset.raw={named} contradict each other; name one")
        return "simulated"
    missing = [file.name for file in reader.files if file.find(raw) is None]
    if not missing:
        return "real"
    if source == "auto" and named is None and not any((raw / file.name).exists() for file in reader.files):
        warnings.warn(
            f"SIMULATED DATA: no raw files of '{reader.name}' in {raw}, so the data are simulated and every "
            "result says so. Put the real files there, name their folder with dataset.raw=<folder>, or say "
            "dataset.source=simulated to silence this.",
            SimulatedDataWarning,
            stacklevel=2,
        )
        return "simulated"
    raise RawError(f"raw files of '{reader.name}' missing or empty in {raw}: {', '.join(missing)}. {reader.where}")


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
