"""``mtlbench evaluate``: a finished run's selected weights on any split, and a closer look at what they predict."""

from dataclasses import asdict
from pathlib import Path

import click

from mtlbench.cli import arguments
from mtlbench.experiment.errors import ConfigError

NUMBERS = {"bins": "5", "min_rows": "50", "repeats": "5", "seed": "0", "sample_rows": "100000"}
KEYS = arguments.RUNS | {"run.device": "auto"} | NUMBERS


@click.command(cls=arguments.Command)
@arguments.run
@arguments.split
@arguments.path_option(
    "--predictions",
    help="Parquet file to write, one row per scored row: its number in the split, its key where the data set has one, "
    "each task's label and prediction.",
)
@click.option(
    "--slices",
    callback=arguments.read_names,
    metavar="[FIELD,...]",
    help="Metrics for each value of a field; [[a,b]]: of their combinations. Also fields that the model does not read.",
)
@click.option("--calibration", is_flag=True, help="What was predicted against what was observed, in 15 bins.")
@click.option("--importance", is_flag=True, help="How much worse it predicts when a field is shuffled, for each field.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@arguments.overrides(KEYS)
def command(
    run: str,
    split: str,
    predictions: Path | None,
    slices: tuple[tuple[str, ...], ...] | None,
    calibration: bool,
    importance: bool,
    as_json: bool,
    overrides: list[str],
) -> None:
    """Score a run again on any split; slices, calibration, importance of fields.

    RUN is a run's folder, or the beginning of its name. The weights are those that the run selected. Slices and
    calibration need no model where the run has kept its test log-odds. What is found is stored in the run's folder,
    shown by `mtlbench report --run RUN`, and sent to MLflow.

    \b
    Keys: run.folder=runs, run.device=auto
          bins=5 (of a number that is sliced by), min_rows=50 (of a slice)
          repeats=5, seed=0, sample_rows=100000 (of --importance)
    Examples:
      mtlbench evaluate 3f2a --split valid
      mtlbench evaluate 3f2a --predictions p.parquet run.folder=/data/runs
      mtlbench evaluate 3f2a --calibration
      mtlbench evaluate 3f2a slices=[country,[country,device]] min_rows=500
      mtlbench evaluate 3f2a --importance repeats=10
    """
    keys = arguments.read_keys(overrides, KEYS)
    numbers = {name: _whole_number(name, keys[name]) for name in NUMBERS}
    from mtlbench.cli.analysis import Wanted, looked_at, stored
    from mtlbench.cli.render import head_text, metrics_text, numbers_text
    from mtlbench.cli.runs import print_json
    from mtlbench.experiment.evaluation import evaluate_run
    from mtlbench.report.analysis import tables
    from mtlbench.tracking.folder import read_facts, read_status

    folder, device = arguments.find_run(run, Path(keys["run.folder"])), keys["run.device"]
    metrics, analyses = None, []
    if slices or calibration or importance:
        wanted = Wanted(slices=slices or (), calibration=calibration, importance=importance, numbers=numbers)
        metrics, analyses = looked_at(folder, split, device, wanted)
    if metrics is None or predictions is not None:
        metrics = evaluate_run(folder, split, device, predictions)
    files = stored(folder, analyses)
    if as_json:
        measured = {"metrics": metrics.values, "undefined": metrics.undefined}
        print_json({"run": folder.name, "split": split, **measured, "analyses": [asdict(each) for each in analyses]})
        return
    facts, state = read_facts(folder)[0], read_status(folder).state
    print(head_text(facts.model, facts.dataset, facts.seed, split, facts.origin))
    if state != "finished":
        print(f"  the run is {state}: these are the best weights so far")
    print(metrics_text(metrics))
    for analysis in analyses:
        print(*(f"\n{numbers_text(numbers)}" for numbers in tables(analysis.found)), sep="\n")
    if files:
        print(f"\n  stored with drawings in {files[0].parent}")
    if predictions:
        print(f"  predictions in {predictions}")


def _whole_number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{name}={text}; expected a whole number")
    return int(text)
