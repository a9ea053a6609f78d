"""``mtlbench train``: one run, or with ``-m`` one run for each combination of the comma-separated values."""

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn, cast

import hydra
from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from mtlbench.cli.choices import GROUPS, choices, conf_folder
from mtlbench.cli.compose import readable_errors, with_choices
from mtlbench.cli.effect import without_effect
from mtlbench.cli.hydra_keys import check_hydra
from mtlbench.cli.messages import REPORTED, text_of
from mtlbench.experiment.errors import ConfigError

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
    options, overrides, sweep = parsed(arguments)
    check_hydra(arguments)
    outcomes: list[Outcome] = []
    failures: list[Exception] = []

    def job(config: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        try:
            with_choices(config, hydra_config.runtime.choices)
            print(
                f"model={config.run.choices.model} dataset={config.run.choices.dataset} seed={config.seed}",
                file=sys.stderr,
            )
            for key, reason in without_effect(config, _written(hydra_config)):
                print(f"mtlbench: note: {key} has no effect: {reason}", file=sys.stderr)
            outcomes.append(_train(config))
        except REPORTED as error:
            if hydra_config.mode == RunMode.MULTIRUN:
                print(f"mtlbench: {hydra_config.job.override_dirname}: {text_of(error)}", file=sys.stderr)
            failures.append(error)
            if not hydra_config.launcher._target_.endswith("BasicLauncher"):
                raise  # in a process of its own, where nobody reads our list

    argv = sys.argv
    try:
        with readable_errors(overrides, sweep=sweep):
            sys.argv = ["mtlbench", *options, *(checked_per_run(overrides) if sweep else overrides)]
            hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="train")(job)()
    finally:
        sys.argv = argv
    if len(outcomes) > 1:
        from mtlbench.cli.render import comparison

        print(comparison(outcomes))
    if failures:
        raise failures[0]
    return 0


def _written(hydra_config: HydraConf) -> list[str]:
    """The run's overrides as text; references in them (``${seed}``) are for the run's configuration, not Hydra's."""
    return cast(list[str], OmegaConf.to_container(cast(ListConfig, hydra_config.overrides.task), resolve=False))


def _train(config: DictConfig) -> "Outcome":
    from mtlbench.cli.render import outcome_text
    from mtlbench.experiment.run import train

    outcome = train(config)
    print(outcome_text(outcome, config), flush=True)
    return outcome


class _Parser(argparse.ArgumentParser):
    """Hydra's options, with an error in place of argparse's usage text and exit."""

    def error(self, message: str) -> NoReturn:
        option = message.rpartition(" ")[2]
        bare = option.lstrip("-")
        hint = f"; did you mean {bare}?" if option.startswith("-") and "=" in bare else ". See mtlbench train --help"
        raise ConfigError(message + hint)


def parsed(arguments: list[str]) -> tuple[list[str], list[str], bool]:
    """The command line as Hydra's options, overrides, and whether it is a sweep (``-m``); in any order.

    Raises:
        ConfigError: an unknown option, or one without its value.
    """
    parser = _Parser(add_help=False, parents=[get_args_parser()], allow_abbrev=False)
    found = parser.parse_intermixed_args(arguments)
    overrides: list[str] = found.overrides
    left, options = list(overrides), []
    for word in arguments:
        left.remove(word) if word in left else options.append(word)
    return options, overrides, found.multirun


def checked_per_run(overrides: list[str]) -> list[str]:
    """Overrides of a sweep, such that Hydra sets a key only where runs are composed.

    Hydra also composes the defaults with every key that has one value, and a key of one model (``model.mask_bias``) is
    none of the default model. A key with a choice of one value is left to the runs.
    """
    parser = OverridesParser.create()
    words = []
    for text in overrides:
        override = parser.parse_override(text)
        group, dot, _ = override.key_or_group.partition(".")
        key, _, value = text.partition("=")
        alone = dot and group in GROUPS and value and not override.is_sweep_override()
        words.append(f"{key}=choice({value})" if alone else text)
    return words


def _described(group: str) -> str:
    lines = [f"{group}: {GROUPS[group]}"]
    lines += [f"  {name:<22}{text}" for name, text in choices(group).items()]
    return "\n".join(lines)
