"""``mtlbench train``: one run, or with ``-m`` one run for each combination of the comma-separated values."""

import sys
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from mtlbench.cli.choices import GROUPS, choices, conf_folder
from mtlbench.cli.compose import readable_errors, with_choices
from mtlbench.cli.hydra_keys import check_hydra
from mtlbench.cli.messages import REPORTED, text_of

if TYPE_CHECKING:
    from mtlbench.experiment.run import Outcome

USAGE = """usage: mtlbench train [-m] [<group>=<choice> ...] [<key>=<value> ...]

One run. With -m, one run for each combination of the values that commas separate, one after another
(hydra/launcher=joblib spreads them over processes). A run that is finished is printed, not trained again;
one that was interrupted goes on. --cfg job prints the composed configuration.

{groups}

keys: `mtlbench show model=<name>` and `mtlbench show dataset=<name>` explain theirs; the common ones and their defaults
  seed=0                     initial weights, order of rows, noise
  trainer.epochs=20          at most so many epochs       trainer.batch_size=1024
  trainer.precision=fp32     bf16: under autocast         trainer.compile=false
  optimizer.lr=0.001         learning rate of all parameters whose group names none of its own
  dataset.raw=null           folder of the real files     dataset.source=auto (or real, simulated)
  run.fresh=false            true: start over where the run exists
  run.device=auto            auto, cpu, cuda, cuda:<n>    run.folder=runs  run.data=data
"""


def run(arguments: list[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        print(USAGE.format(groups="\n\n".join(_described(group) for group in GROUPS)), end="")
        return 0
    check_hydra(arguments)
    outcomes: list[Outcome] = []
    failures: list[Exception] = []

    def job(config: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        with_choices(config, hydra_config.runtime.choices)
        print(
            f"model={config.run.choices.model} dataset={config.run.choices.dataset} seed={config.seed}", file=sys.stderr
        )
        try:
            outcomes.append(_train(config))
        except REPORTED as error:
            if hydra_config.mode == RunMode.MULTIRUN:
                print(f"mtlbench: {hydra_config.job.override_dirname}: {text_of(error)}", file=sys.stderr)
            failures.append(error)
            if not hydra_config.launcher._target_.endswith("BasicLauncher"):
                raise  # in a process of its own, where nobody reads our list

    overrides = [word for word in arguments if not word.startswith("-")]
    argv, sys.argv = sys.argv, ["mtlbench", *arguments]
    try:
        with readable_errors(_plain_overrides(arguments, overrides)):
            hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="train")(job)()
    finally:
        sys.argv = argv
    if len(outcomes) > 1:
        from mtlbench.cli.render import comparison

        print(comparison(outcomes))
    if failures:
        raise failures[0]
    return 0


def _train(config: DictConfig) -> "Outcome":
    from mtlbench.cli.render import outcome_text
    from mtlbench.experiment.run import train

    outcome = train(config)
    print(outcome_text(outcome, config), flush=True)
    return outcome


def _plain_overrides(arguments: list[str], overrides: list[str]) -> list[str]:
    """Overrides without the values of Hydra's own flags (``--config-dir mine``)."""
    valued = {
        "--config-dir",
        "-cd",
        "--config-name",
        "-cn",
        "--config-path",
        "-cp",
        "--cfg",
        "-c",
        "--package",
        "-p",
        "--info",
        "-i",
        "--shell-completion",
        "-sc",
    }
    values = {arguments[i + 1] for i, word in enumerate(arguments[:-1]) if word in valued}
    return [word for word in overrides if word not in values]


def _described(group: str) -> str:
    lines = [f"{group}: {GROUPS[group]}"]
    lines += [f"  {name:<22}{text}" for name, text in choices(group).items()]
    return "\n".join(lines)
