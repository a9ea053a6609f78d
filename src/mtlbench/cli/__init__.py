"""The command line: one click command per module, imported only when that command runs."""

import importlib
import os
import sys

import click

from mtlbench import __version__
from mtlbench.cli.garbage import OWN_PROCESS

COMMANDS = {
    "train": "Train a model on a data set: one run, or a sweep with -m.",
    "tune": "Search hyperparameters of models on validation data.",
    "evaluate": "Evaluate a run: metrics by split and slice, calibration, importance.",
    "prepare": "Turn a data set's raw files into a store.",
    "simulate": "Write a simulated data set in its raw format.",
    "reproduce": "Reproduce a table or figure of a paper.",
    "report": "Write one HTML page of reproduced tables and figures.",
    "export": "Write a run as an MLflow model and an ONNX graph.",
    "score": "Score rows of a Parquet or CSV file with an exported model.",
    "list": "List models, data sets and other choices, or runs.",
    "show": "Show one model, data set or run in detail.",
    "diff": "Compare two runs: settings that differ, and metrics.",
    "clean": "Remove unfinished runs, or the runs that are named.",
    "new": "Write starter files for a model, data set or study of your own.",
    "ui": "Serve the MLflow page of the runs.",
    "sync": "Upload runs that have not reached MLflow.",
    "doctor": "Check the installation, the device, the stores and the tracker.",
    "completion": "Print a script for shell completion.",
}
"""First line of each command's help, here so that `mtlbench --help` imports no command module."""

COMMAND = "mtlbench.command"
"""Key in the ``meta`` of click's context: the name of the command."""

VARIABLE = "_MTLBENCH_COMPLETE"
"""Environment variable by which the scripts of ``mtlbench completion`` request completions."""


def set_environment() -> None:
    """Set environment variables that mlflow, Hydra and OpenMP read on import, unless the user has set them."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # Threads that spin while they wait take a core from those that work, and threads that sleep wake up late: on two
    # cores of a Xeon, 2,000 rounds are within 7 % of the best of the settings tried, with one of them busy or not.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")


class _Commands(click.Group):
    """The command group: withholds passwords from commands, and prints errors as one message."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return importlib.import_module(f"mtlbench.cli.{cmd_name}").command if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[COMMAND] = next(iter(args), "")  # an option here, such as --help, ends the program
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in COMMANDS or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        from mtlbench.cli.arguments import nearest

        raise click.UsageError(f"no such command: {args[0]}{nearest(args[0], COMMANDS)}", ctx)

    def invoke(self, ctx: click.Context) -> int:
        """Parse and run the chosen command; returns its exit status."""
        set_environment()
        from mtlbench.cli.messages import explained, quiet_warnings
        from mtlbench.cli.names import as_written
        from mtlbench.cli.torchrun import torchrun_job
        from mtlbench.cli.words import moved_to_environment
        from mtlbench.tracking.credentials import redacted_output

        quiet_warnings()
        with (
            moved_to_environment(ctx.args) as words,
            redacted_output(),
            explained() as status,
            torchrun_job(ctx.meta[COMMAND]),
        ):
            ctx.args = as_written(words())
            status.code = super().invoke(ctx) or 0
        return status.code


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """Experiments with multi-task recommendation models, from raw files to tracked runs.

    Most commands take GROUP=CHOICE and KEY=VALUE overrides (Hydra's) and options, in any order. All of them take

    \b
      run.allow=[PACKAGE,...]   your packages, whose classes configurations may
                                name; or MTLBENCH_ALLOW=PACKAGE,...
      --config-dir FOLDER       your configurations and code, as written by
                                `mtlbench new`; or MTLBENCH_CONF

    \b
    Examples:
      mtlbench train model=dephn dataset=aliccp
      mtlbench train -m model=mmoe,dephn 'seed=range(5)'
      mtlbench train --help      every group and its choices, with a description
    """


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 success, 1 failure, 2 invalid input, 130 interrupted.

    Args:
        arguments: of the command; ``None``: those of this process, which then runs nothing else.
    """
    words = sys.argv[1:] if arguments is None else [*arguments]  # `list` is a module here once that command is imported
    if words[:1] in ([], ["help"]):
        words = [*words[1:2], "--help"]
    if VARIABLE in os.environ:
        importlib.import_module("mtlbench.cli.completion")
    try:
        own = OWN_PROCESS if arguments is None else None
        return commands.main(words, "mtlbench", standalone_mode=False, obj=own) or 0
    except click.UsageError as error:
        from mtlbench.cli.messages import text_of

        print(f"mtlbench: {text_of(error)}", file=sys.stderr)
        return 2
