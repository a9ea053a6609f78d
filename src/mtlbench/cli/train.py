"""``mtlbench train``: one run, or with ``-m`` one run for each combination of the comma-separated values."""

import sys
from typing import TYPE_CHECKING, cast

import click

from mtlbench.cli import arguments
from mtlbench.cli.choices import GROUPS, choices
from mtlbench.cli.search_path import conf_folder

if TYPE_CHECKING:
    from hydra.conf import HydraConf
    from omegaconf import DictConfig, ListConfig

    from mtlbench.experiment.run import Outcome

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")

KEYS = """
Keys: `mtlbench show model=NAME` and `mtlbench show dataset=NAME` explain theirs; the common ones and their defaults
  seed=0                     initial weights, order of rows, noise
  trainer.epochs=20          at most so many epochs       trainer.batch_size=1024
  trainer.precision=fp32     bf16: under autocast         trainer.compile=false
  optimizer.lr=0.001         learning rate of all parameters whose group names none of its own
  dataset.raw=null           folder of the real files     dataset.source=auto (or real, simulated)
  run.fresh=false            true: start over where the run exists
  run.device=auto            auto, cpu, cuda, cuda:<n>    run.folder=runs  run.data=data
"""


class _Train(arguments.Command):
    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Behind click's text, every group with its choices."""
        super().format_help(ctx, formatter)
        for group, text in GROUPS.items():
            listed = "".join(f"  {name:<22}{comment}\n" for name, comment in choices(group).items())
            formatter.write(f"\n{group}: {text}\n{listed}")
        formatter.write(KEYS)


@click.command(cls=_Train)
@click.option("-m", "--multirun", is_flag=True, help="One run for each combination of the values that commas separate.")
@click.option("-c", "--cfg", type=click.Choice(["job", "hydra", "all"]), help="Print the configuration; train nothing.")
@click.option("--resolve", is_flag=True, help="With --cfg: references replaced by their values.")
@click.option("-p", "--package", metavar="KEY", help="With --cfg: this part alone.")
@click.option("-i", "--info", type=click.Choice(INFO), is_flag=False, flag_value="all", help="Print what Hydra reads.")
@arguments.overrides()
def command(
    multirun: bool,
    cfg: str | None,
    resolve: bool,
    package: str | None,
    info: str | None,
    overrides: list[str],
) -> None:
    """Train a model on a data set: one run, or a sweep with -m.

    The runs of a sweep follow one another (hydra/launcher=joblib spreads them over processes). A run that is finished
    is printed, not trained again; one that was interrupted goes on.

    \b
    Examples:
      mtlbench train model=dephn dataset=aliccp
      mtlbench train -m model=mmoe,dephn 'seed=range(5)'
      mtlbench train model=my --config-dir mine run.allow=[mypackage]
    """
    from mtlbench.cli.hydra_keys import check_hydra

    check_hydra(overrides)
    given = {"--cfg": cfg, "--package": package, "--info": info}
    options = ["--multirun"] * multirun + ["--resolve"] * resolve
    options += [word for name, value in given.items() if value for word in (name, str(value))]
    _run(options, overrides, multirun)


def _run(options: list[str], overrides: list[str], sweep: bool) -> None:
    """Hand options and overrides to Hydra, which composes each run's configuration and calls `job`."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from mtlbench.cli.compose import readable_errors, with_choices
    from mtlbench.cli.effect import without_effect
    from mtlbench.cli.messages import REPORTED, text_of

    outcomes: list[Outcome] = []
    failures: list[Exception] = []

    def job(config: "DictConfig") -> None:
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


def _written(hydra_config: "HydraConf") -> list[str]:
    """The run's overrides as text; references in them (``${seed}``) are for the run's configuration, not Hydra's."""
    from omegaconf import OmegaConf

    return cast(list[str], OmegaConf.to_container(cast("ListConfig", hydra_config.overrides.task), resolve=False))


def _train(config: "DictConfig") -> "Outcome":
    from mtlbench.cli.render import outcome_text
    from mtlbench.experiment.run import train

    outcome = train(config)
    print(outcome_text(outcome, config), flush=True)
    return outcome


def checked_per_run(overrides: list[str]) -> list[str]:
    """Overrides of a sweep, such that Hydra sets a key only where runs are composed.

    Hydra also composes the defaults with every key that has one value, and a key of one model (``model.mask_bias``) is
    none of the default model. A key with a choice of one value is left to the runs.
    """
    from mtlbench.cli.compose import parse_override

    words = []
    for text in overrides:
        override = parse_override(text)
        group, dot, _ = override.key_or_group.partition(".")
        key, _, value = text.partition("=")
        alone = dot and group in GROUPS and value and not override.is_sweep_override()
        words.append(f"{key}=choice({value})" if alone else text)
    return words
