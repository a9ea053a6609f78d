"""The folder of a run: opens it for a new attempt, reuses a finished result, and sends it to the tracker."""

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mtlbench.distributed.job import is_first, rank_count
from mtlbench.experiment.annotations import annotated
from mtlbench.experiment.code_version import code_version
from mtlbench.experiment.data import DataSource
from mtlbench.files import write_beside
from mtlbench.result import Result
from mtlbench.tracking.folder import CONFIG, FACTS, RunInfo, annotate, begin, read_facts, read_result
from mtlbench.tracking.tracker import Tracker, open_tracker


class OtherCodeWarning(UserWarning):
    """A run was started or finished by another version of the code."""


def open_folder(config: DictConfig, data: DataSource, folder: Path) -> None:
    """Write a run's facts (configuration, data, code) if they are missing, or if the run starts over."""
    if config.run.fresh and folder.exists():
        _start_over(config, folder)
    folder.mkdir(exist_ok=True)
    code = versions = code_version(config)
    before = read_facts(folder)[0] if (folder / FACTS).exists() else None
    processes = (before.ranks if before else None) or "1"
    if processes.split()[-1] != str(rank_count()):
        processes = f"{processes} then {rank_count()}" if before else str(rank_count())
    if before is not None:
        versions = before.commit
        if not versions.endswith(code):
            warnings.warn(
                f"run {folder.name} was started with other code ({versions}) and continues with this ({code}). "
                "Start over with run.fresh=true.",
                OtherCodeWarning,
                stacklevel=2,
            )
            versions = f"{versions} then {code}"
    write_beside(folder / CONFIG, OmegaConf.to_yaml(config, resolve=True).encode())
    facts = RunInfo(
        identity=folder.name,
        model=config.run.choices.model,
        dataset=data.config.name,
        seed=config.seed,
        data=data.fingerprint,
        origin=data.origin,
        commit=versions,
        ranks=None if processes == "1" else processes,
        paper=None if config.run.choices.profile == "default" else config.run.choices.profile,
        overrides=tuple(config.run.get("overrides", ())),
    )
    if before:
        facts = replace(facts, name=before.name, tags=before.tags, notes=before.notes)
    begin(folder, annotated(facts, config))


def finished_result(config: DictConfig, folder: Path) -> Result:
    """The result of an already finished run."""
    annotate(folder, annotated(read_facts(folder)[0], config))
    result = _reported(folder, code_version(config))
    _send_unsent(config, folder)  # its process may have been killed after writing the result
    return result


def run_tracker(config: DictConfig, folder: Path) -> Tracker | None:
    """The tracker that a run is sent to; ``None`` if there is none, or on a rank other than 0."""
    if not is_first():
        return None
    return open_tracker(uri=config.run.tracker.uri, experiment=config.run.tracker.experiment, runs=folder.parent)


def _reported(folder: Path, code: str) -> Result:
    """The result of a finished run, with a warning if it was made by other code."""
    result = read_result(folder)
    if result.code != code:
        warnings.warn(
            f"run {folder.name} was finished with other code ({result.code}); this is {code}. "
            "Train it again with run.fresh=true.",
            OtherCodeWarning,
            stacklevel=3,
        )
    return result


def _start_over(config: DictConfig, folder: Path) -> None:
    _send_unsent(config, folder)  # otherwise MLflow would show an earlier, killed attempt as running for ever
    shutil.rmtree(folder)


def _send_unsent(config: DictConfig, folder: Path) -> None:
    if tracker := run_tracker(config, folder):
        tracker.finish_unsent(folder)
