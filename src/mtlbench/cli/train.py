"""``mtlbench train``: trains one run, or with ``-m`` one run per combination of comma-separated values."""

import sys

import click

from mtlbench.cli import arguments
from mtlbench.cli.choices import GROUPS, choices
from mtlbench.cli.garbage import nothing_is_garbage
from mtlbench.distributed.job import launched
from mtlbench.experiment.errors import ConfigError

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")

KEYS = """
Common keys and their defaults (`mtlbench show model=NAME` and `mtlbench show dataset=NAME` explain the others)
  seed=0                     initial weights, order of rows, noise
  trainer.epochs=20          maximum number of epochs     trainer.batch_size=1024
  trainer.precision=fp32     bf16: under autocast         trainer.compile=false
  optimizer.lr=0.001         learning rate, unless a parameter group sets its own
  dataset.raw=null           folder of the real files     dataset.source=auto (or real, simulated)
  tuned=false                true: start from the settings that mtlbench tune found for this model
  run.fresh=false            true: train again from the start, even if the run exists
  run.device=auto            auto, cpu, cuda, cuda:<n>    run.folder=runs  run.data=data
  run.name=TEXT              in lists and MLflow          run.tags=[TAG,...]  run.notes=TEXT
"""


class _Train(arguments.Command):
    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Append every group and its choices to click's help."""
        super().format_help(ctx, formatter)
        for group, text in GROUPS.items():
            listed = "".join(f"  {name:<22}{comment}\n" for name, comment in choices(group).items())
            formatter.write(f"\n{group}: {text}\n{listed}")
        formatter.write(KEYS)


@click.command(cls=_Train)
@click.option("-m", "--multirun", is_flag=True, help="Train one run per combination of comma-separated values.")
@click.option(
    "-c", "--cfg", type=click.Choice(["job", "hydra", "all"]), help="Print the configuration without training."
)
@click.option("--resolve", is_flag=True, help="With --cfg: resolve references to their values.")
@click.option("-p", "--package", metavar="KEY", help="With --cfg: print only this part.")
@click.option(
    "-i",
    "--info",
    type=click.Choice(INFO),
    is_flag=False,
    flag_value="all",
    help="Print information about Hydra's inputs.",
)
@arguments.overrides()
@arguments.verbosity
def command(
    multirun: bool,
    cfg: str | None,
    resolve: bool,
    package: str | None,
    info: str | None,
    overrides: list[str],
) -> int:
    """Train a model on a data set: one run, or a sweep with -m.

    The runs of a sweep are trained one after another (in parallel processes with hydra/launcher=joblib). A finished
    run is printed, not trained again; an interrupted one resumes.

    \b
    Examples:
      mtlbench train model=dephn dataset=aliccp
      mtlbench train -m model=mmoe,dephn 'seed=range(5)'
      mtlbench train model=my --config-dir mine run.allow=[mypackage]
    """
    from mtlbench.cli.compose import started_hydra
    from mtlbench.cli.hydra_keys import split_hydra
    from mtlbench.cli.overrides import readable_errors

    launching, overrides = split_hydra(overrides)
    if cfg or info:
        if tuned := [word for word in overrides if word.startswith("tuned=")]:
            raise ConfigError(f"{tuned[0]}: --cfg and --info show Hydra's inputs, which do not include tuned settings")
        with readable_errors(overrides, sweep=multirun), started_hydra() as hydra:
            if cfg:
                hydra.show_cfg("train", [*launching, *overrides], cfg, package, resolve)
            else:
                hydra.show_info(str(info), "train", [*launching, *overrides])
        return 0
    if resolve or package:
        raise ConfigError(f"{'--resolve' if resolve else '--package'} needs --cfg")
    if multirun:
        if launched():
            raise ConfigError(
                "--multirun starts several runs, torchrun several processes of one run. Start each run of the sweep "
                "with its own torchrun, or the sweep without torchrun"
            )
        with nothing_is_garbage():
            from mtlbench.cli.launcher import launcher_of
            from mtlbench.cli.sweep import sweep

        return sweep(overrides, launcher_of(launching, overrides))
    if launching:
        raise ConfigError(f"{' '.join(launching)}: a launcher only applies to sweeps, mtlbench train -m")
    return _train(overrides)


def _train(overrides: list[str]) -> int:
    with nothing_is_garbage():
        from mtlbench.cli.compose import compose

        config = compose(overrides, sweep=False)

        # These import torch, which takes seconds; misspelt overrides have been reported by now.
        from mtlbench.cli.render import outcome_text
        from mtlbench.experiment.effect import without_effect
        from mtlbench.experiment.run import train

    print(f"model={config.run.choices.model} dataset={config.run.choices.dataset} seed={config.seed}", file=sys.stderr)
    for key, reason in without_effect(config, overrides):
        print(f"mtlbench: note: {key} has no effect: {reason}", file=sys.stderr)
    print(outcome_text(train(config), config), flush=True)
    return 0
