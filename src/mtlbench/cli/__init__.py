"""The command line. Nothing heavy is imported before a command is chosen."""

import difflib
import importlib
import os
import sys

COMMANDS = {
    "train": "train a model on a data set: one run, or a sweep with -m",
    "evaluate": "score a finished run again on any split, and save its predictions",
    "prepare": "turn a data set's raw files into a store",
    "simulate": "write a simulated data set in its raw format, with its truth",
    "reproduce": "tables and figures of papers: run what is missing, and write the paper's numbers beside ours",
    "report": "one HTML page of the tables and figures that were reproduced",
    "export": "a finished run as an MLflow model and an ONNX graph that need neither this machine nor mtlbench",
    "score": "raw rows of a Parquet or CSV file scored by an exported model",
    "list": "models, data sets and all other choices; or the runs so far",
    "show": "one model, data set or run in detail",
    "ui": "open the MLflow page of the runs",
    "sync": "send runs to MLflow that have not reached it",
    "doctor": "what is installed, which device, whether stores and tracker can be reached",
    "completion": "print a script that completes commands, groups and keys in bash",
}

HELP = """mtlbench: experiments with multi-task recommendation models, from raw files to tracked runs

usage: mtlbench <command> [<group>=<choice> ...] [<key>=<value> ...]

{commands}

any command also takes
  run.allow=[<package>,...]   packages of yours whose classes a configuration may name; or MTLBENCH_ALLOW=<package>,...

examples:
  mtlbench train model=dephn dataset=aliccp
  mtlbench train -m model=mmoe,dephn 'seed=range(5)'
  mtlbench train --help          every group, its choices, and what each is for
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed, 2 unusable input, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP.format(commands="\n".join(f"  {name:<12}{text}" for name, text in COMMANDS.items())), end="")
        return 0
    if arguments[0] == "--version":
        from mtlbench import __version__

        print(f"mtlbench {__version__}")
        return 0
    command, *rest = arguments
    if command == "complete":  # what the completion script calls at each key press
        return importlib.import_module("mtlbench.cli.completion").complete()
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        print(
            f"mtlbench: no such command: {command}"
            + (f" (did you mean {close[0]}?)" if close else "")
            + f"\ncommands: {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return 2
    return _run(command, rest)


def _run(command: str, arguments: list[str]) -> int:
    # Set before anything imports mlflow: no telemetry unless the user wants it, warnings in one line of ours.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # Before torch is imported: threads that wait by spinning take the core from those that work. Where another process
    # wants one of two cores, a training step took up to 460 ms instead of 20; on a free machine this costs nothing.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from mtlbench.cli.messages import explained, quiet_warnings, redacted_output
    from mtlbench.cli.names import as_written
    from mtlbench.cli.words import private

    quiet_warnings()
    with private(arguments) as words, redacted_output(), explained() as status:
        status.code = importlib.import_module(f"mtlbench.cli.{command}").run(as_written(words())) or 0
    return status.code
