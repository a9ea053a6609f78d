"""``mtlbench evaluate``: a finished run's selected weights on any split."""

from pathlib import Path

from mtlbench.experiment.build import ConfigError

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
    options = {"split": "test", "predictions": "", "run.folder": "runs", "run.device": "auto"}
    for word in rest:
        key, _, value = word.partition("=")
        if key not in options:
            raise ConfigError(f"evaluate: unknown '{word}'; allowed: {', '.join(f'{k}=' for k in options)}")
        options[key] = value
    from mtlbench.cli.render import metrics_text
    from mtlbench.experiment.evaluation import evaluate_run

    folder = find_run(name, Path(options["run.folder"]))
    predictions = Path(options["predictions"]) if options["predictions"] else None
    metrics = evaluate_run(folder, options["split"], options["run.device"], predictions)
    print(metrics_text(metrics.values, metrics.undefined, options["split"]))
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
