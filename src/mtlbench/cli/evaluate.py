"""``mtlbench evaluate``: scores a run's selected weights on any split, and analyses the predictions."""

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
    help="Parquet file for predictions, one row per row of the split: its number in the split, its key if the data set "
    "has one, and each task's label and prediction.",
)
@click.option(
    "--slices",
    callback=arguments.read_names,
    metavar="[FIELD,...]",
    help="Metrics for each value of a field, or with [[a,b]] of their combinations; a field need not be a model input.",
)
@click.option("--calibration", is_flag=True, help="Predicted against observed values, in 15 bins.")
@click.option(
    "--importance",
    is_flag=True,
    help="Permutation importance: the loss in quality when a field is shuffled, for each field.",
)
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
    """Evaluate a run: metrics by split and slice, calibration, importance.

    RUN is a run's folder, or a prefix of its name. The weights are those that the run selected. Slices and
    calibration need no model if the run has kept its test log-odds. Analyses are stored in the run's folder, shown by
    `mtlbench report --run RUN`, and sent to MLflow.

    \b
    Keys: run.folder=runs, run.device=auto
          bins=5 (of a sliced number field), min_rows=50 (of a slice)
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
    from mtlbench.cli.analysis import Request, analyse, store
    from mtlbench.cli.render import head_text, metrics_text, numbers_text
    from mtlbench.cli.runs import print_json
    from mtlbench.experiment.evaluation import evaluate_run
    from mtlbench.report.analysis import tables
    from mtlbench.tracking.folder import read_facts, read_status

    folder, device = arguments.find_run(run, Path(keys["run.folder"])), keys["run.device"]
    metrics, analyses = None, []
    if slices or calibration or importance:
        request = Request(slices=slices or (), calibration=calibration, importance=importance, numbers=numbers)
        metrics, analyses = analyse(folder, split, device, request)
    if metrics is None or predictions is not None:
        metrics = evaluate_run(folder, split, device, predictions)
    files = store(folder, analyses)
    if as_json:
        measured = {"metrics": metrics.values, "undefined": metrics.undefined}
        print_json({"run": folder.name, "split": split, **measured, "analyses": [asdict(each) for each in analyses]})
        return
    facts, state = read_facts(folder)[0], read_status(folder).state
    print(head_text(facts.model, facts.dataset, facts.seed, split, facts.origin))
    if state != "finished":
        print(f"  the run is {state}: metrics of the best weights so far")
    print(metrics_text(metrics))
    for analysis in analyses:
        print(*(f"\n{numbers_text(numbers)}" for numbers in tables(analysis.found)), sep="\n")
    if files:
        print(f"\n  stored with figures in {files[0].parent}")
    if predictions:
        print(f"  predictions in {predictions}")


def _whole_number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{name}={text}; expected a whole number")
    return int(text)
