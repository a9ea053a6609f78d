"""``mtlbench evaluate``: a finished run's selected weights on any split."""

from pathlib import Path

from mtlbench.cli.choices import options
from mtlbench.experiment.errors import ConfigError

USAGE = """usage: mtlbench evaluate <run> [split=test|valid|train] [predictions=<file>.parquet]
                         [run.folder=runs] [run.device=auto]

<run> is a run's folder, or the beginning of its name. Scores the weights that the run selected; with predictions=
also writes one row per scored row: its number in the split, and each task's label and probability.
"""


def run(arguments: list[str]) -> int:
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0 if arguments else 2
    name, *rest = arguments
    chosen = options(rest, {"split": "test", "predictions": "", "run.folder": "runs", "run.device": "auto"})
    from mtlbench.cli.render import head_text, metrics_text
    from mtlbench.experiment.evaluation import evaluate_run
    from mtlbench.tracking.folder import read_facts, read_status

    folder = find_run(name, Path(chosen["run.folder"]))
    predictions = Path(chosen["predictions"]) if chosen["predictions"] else None
    metrics = evaluate_run(folder, chosen["split"], chosen["run.device"], predictions)
    facts, state = read_facts(folder)[0], read_status(folder).state
    print(head_text(facts.model, facts.dataset, facts.seed, chosen["split"], facts.origin))
    if state != "finished":
        print(f"  the run is {state}: these are the best weights so far")
    print(metrics_text(metrics.values, metrics.undefined, chosen["split"]))
    if predictions:
        print(f"  predictions in {predictions}")
    return 0


def find_run(name: str, runs: Path) -> Path:
    """The folder of a run: a path, or the one folder whose name begins so."""
    if Path(name).is_dir():
        return Path(name)
    found = [path for path in sorted(runs.glob(f"{name}*")) if path.is_dir()] if name else []
    if len(found) != 1:
        raise ConfigError(
            f"'{name}' is no folder and begins the name of {len(found)} runs in {runs}. "
            "`mtlbench list runs` shows them."
        )
    return found[0]
