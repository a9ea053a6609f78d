"""Launcher overrides (``hydra/launcher=joblib``) of the commands that start several runs."""

from collections.abc import Sequence
from typing import Any, cast, get_args

from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtlbench.cli.compose import compose_by_hydra
from mtlbench.experiment.errors import ConfigError
from mtlbench.reproduce.launcher import Kind, Launcher

OF_ALL_EXECUTORS = (
    "timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name", "stderr_to_stdout",
)  # fmt: skip
"""Parameters that submitit knows without the name of the executor in front."""

TIME_LIMITS = 20
"""Times that a job is submitted again at its time limit, unless ``hydra.launcher.max_num_timeout`` says how often."""


def launcher_of(words: Sequence[str], overrides: Sequence[str], processes: int | None = None) -> Launcher:
    """The launcher that words such as ``hydra/launcher=submitit_slurm hydra.launcher.partition=gpu`` name.

    Args:
        words: about the launcher.
        overrides: all others; the jobs of a cluster leave their logs below ``run.folder``.
        processes: short for joblib with so many.

    Raises:
        ConfigError: no such launcher or key, the plugin is not installed, or a word about something else of Hydra's.
    """
    if processes is not None:
        words = [*words, "hydra/launcher=joblib", f"hydra.launcher.n_jobs={processes}"]
    # Hydra calls it a group; `submitit` alone is that of a cluster.
    words = [word.replace("hydra.launcher=", "hydra/launcher=") for word in words]
    words = ["hydra/launcher=submitit_slurm" if word == "hydra/launcher=submitit" else word for word in words]
    words = [word for word in words if word != "hydra/sweeper=basic"]
    for word in words:
        _refuse_other(word)
    if not words:
        return Launcher()
    kind, options = _composed([*words, *(word for word in overrides if word.startswith("run.folder="))])
    if kind == "basic":
        return Launcher()
    if kind == "joblib":
        if others := [word for word in words if not word.startswith(("hydra/launcher=", "hydra.launcher.n_jobs="))]:
            raise ConfigError(f"{', '.join(others)}: of joblib's options only hydra.launcher.n_jobs counts here")
        return Launcher(kind="joblib", options={"n_jobs": options["n_jobs"]})
    executor = kind.removeprefix("submitit_")
    if "max_num_timeout" in options and not any(word.startswith("hydra.launcher.max_num_timeout=") for word in words):
        options["max_num_timeout"] = TIME_LIMITS  # the launcher's own default is never, though a run can go on
    parameters = {
        name if name in OF_ALL_EXECUTORS else f"{executor}_{name}": value
        for name, value in options.items()
        if name not in ("_target_", "submitit_folder")
    }
    return Launcher(kind=kind, options=parameters | {"folder": options["submitit_folder"]})


def _refuse_other(word: str) -> None:
    key, _, value = word.partition("=")
    if "sweeper" in key:
        raise ConfigError(
            f"{word}: a sweep is every combination of the given values, seed=0,1 or range(), choice(), glob(). "
            "`mtlbench tune` searches settings by their validation score. "
            "hydra.launcher.n_jobs (joblib) and hydra.launcher.array_parallelism (Slurm) limit the runs at a time"
        )
    if key == "hydra/launcher" and value not in get_args(Kind):
        raise ConfigError(f"{word}: no such launcher; allowed: {', '.join(get_args(Kind))}")


def _composed(words: list[str]) -> tuple[Kind, dict[str, Any]]:
    try:
        composed = compose_by_hydra(words)
    except MissingConfigException as error:
        extras = "joblib needs the extra 'parallel', submitit_* 'slurm': pip install 'mtlbench[parallel,slurm]'"
        raise ConfigError(f"the launcher is not installed: {extras}") from error
    except (HydraException, OmegaConfBaseException) as error:
        problem = str(error).splitlines()[0]
        raise ConfigError(
            f"{' '.join(words)}: {problem} Keys are those of the launcher, hydra/launcher=<name>"
        ) from error
    kind = composed.hydra.runtime.choices["hydra/launcher"]
    return kind, cast(dict[str, Any], OmegaConf.to_container(composed.hydra.launcher, resolve=True))
