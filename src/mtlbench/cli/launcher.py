"""Launcher overrides (``hydra/launcher=joblib``) of commands that start several runs."""

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
"""Parameters of submitit that take no executor prefix."""

TIME_LIMITS = 20
"""How often a job that hits its time limit is resubmitted, unless ``hydra.launcher.max_num_timeout`` is set."""


def launcher_of(words: Sequence[str], overrides: Sequence[str], processes: int | None = None) -> Launcher:
    """The launcher that overrides such as ``hydra/launcher=submitit_slurm hydra.launcher.partition=gpu`` configure.

    Args:
        words: overrides of the launcher.
        overrides: all other overrides; their ``run.folder`` holds the logs of cluster jobs.
        processes: number of processes, a shorthand for joblib.

    Raises:
        ConfigError: the launcher or key does not exist, the plugin is not installed, or an override is of another key
            of Hydra's.
    """
    if processes is not None:
        words = [*words, "hydra/launcher=joblib", f"hydra.launcher.n_jobs={processes}"]
    # To Hydra the launcher is a group; plain `submitit` is short for the one of a cluster.
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
        if unused := [word for word in words if not word.startswith(("hydra/launcher=", "hydra.launcher.n_jobs="))]:
            raise ConfigError(f"{', '.join(unused)}: of joblib's options, only hydra.launcher.n_jobs is used")
        return Launcher(kind="joblib", options={"n_jobs": options["n_jobs"]})
    executor = kind.removeprefix("submitit_")
    if "max_num_timeout" in options and not any(word.startswith("hydra.launcher.max_num_timeout=") for word in words):
        options["max_num_timeout"] = TIME_LIMITS  # by default the launcher never resubmits, although runs can resume
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
            f"{word}: a sweep trains every combination of the given values, as in seed=0,1 or range(), choice(), "
            "glob(). `mtlbench tune` searches hyperparameters by their validation score. "
            "hydra.launcher.n_jobs (joblib) and hydra.launcher.array_parallelism (Slurm) limit the concurrent runs"
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
            f"{' '.join(words)}: {problem} The keys depend on the launcher, hydra/launcher=<name>"
        ) from error
    kind = composed.hydra.runtime.choices["hydra/launcher"]
    return kind, cast(dict[str, Any], OmegaConf.to_container(composed.hydra.launcher, resolve=True))
