"""``mtlbench evaluate``: a finished run's selected weights on any split."""

from pathlib import Path

import click

from mtlbench.cli import arguments

KEYS = arguments.RUNS | {"run.device": "auto"}


@click.command(cls=arguments.Command)
@arguments.run
@arguments.split
@arguments.path_option(
    "--predictions",
    help="Parquet file to write, one row per scored row: its number in the split, each task's label and prediction.",
)
@arguments.overrides(KEYS)
def command(run: str, split: str, predictions: Path | None, overrides: list[str]) -> None:
    """Score a run again on any split, and save its predictions.

    RUN is a run's folder, or the beginning of its name. The weights are those that the run selected.

    \b
    Keys: run.folder=runs, run.device=auto
    Examples:
      mtlbench evaluate 3f2a --split valid
      mtlbench evaluate 3f2a --predictions p.parquet run.folder=/data/runs
    """
    keys = arguments.read_keys(overrides, KEYS)
    from mtlbench.cli.render import head_text, metrics_text
    from mtlbench.experiment.evaluation import evaluate_run
    from mtlbench.tracking.folder import read_facts, read_status

    folder = arguments.find_run(run, Path(keys["run.folder"]))
    metrics = evaluate_run(folder, split, keys["run.device"], predictions)
    facts, state = read_facts(folder)[0], read_status(folder).state
    print(head_text(facts.model, facts.dataset, facts.seed, split, facts.origin))
    if state != "finished":
        print(f"  the run is {state}: these are the best weights so far")
    print(metrics_text(metrics))
    if predictions:
        print(f"  predictions in {predictions}")
