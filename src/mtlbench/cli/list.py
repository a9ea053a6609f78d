"""``mtlbench list``: what there is to choose from, and the runs so far."""

import difflib
from pathlib import Path

from mtlbench.cli.choices import GROUPS, choices, options
from mtlbench.experiment.errors import ConfigError

USAGE = "usage: mtlbench list [models|datasets|optimizers|...|runs] [run.folder=runs]\n"


def run(arguments: list[str]) -> int:
    words = [word for word in arguments if "=" not in word and not word.startswith("-")]
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    if words == ["runs"]:
        return _runs(Path(options(arguments, {"run.folder": "runs"})["run.folder"]))
    if "runs" in words:
        raise ConfigError("list runs stands alone: mtlbench list runs [run.folder=runs]")
    for group in [_group(word) for word in words] or GROUPS:
        print(f"{group}: {GROUPS[group]}")
        for name, text in choices(group).items():
            print(f"  {name:<22}{text}")
        print()
    return 0


def _group(word: str) -> str:
    singular = word.removesuffix("s")
    for name in (word, singular):
        if name in GROUPS:
            return name
    close = difflib.get_close_matches(word, [*(f"{group}s" for group in GROUPS), "runs"], n=1)
    raise ConfigError(
        f"nothing is called '{word}'"
        + (f"; did you mean {close[0]}?" if close else ".")
        + f" There are: {', '.join(f'{group}s' for group in GROUPS)}, runs."
    )


def _runs(folder: Path) -> int:
    from mtlbench.cli.render import table

    rows = [_run_cells(described.parent) for described in sorted(folder.glob("*/run.json"), key=_modified)]
    print(
        table(["run", "model", "data set", "origin", "seed", "state", "test AUC"], rows)
        if rows
        else f"no runs in {folder}; `mtlbench train` makes some"
    )
    return 0


def _run_cells(folder: Path) -> list[str]:
    """Identity, model, data set, origin, seed, state and test AUC of a run; a damaged file is said to be damaged."""
    from mtlbench.tracking.folder import RESULT, read_facts, read_json, read_status

    try:
        facts, state = read_facts(folder)[0], read_status(folder).state
        metrics = read_json(folder / RESULT)["metrics"] if (folder / RESULT).exists() else {}
    except ValueError as error:
        return [folder.name, "", "", "", "", "damaged", str(error).partition("\n")[0]]
    aucs = ", ".join(f"{name.split('/')[1]} {value:.4f}" for name, value in metrics.items() if name.endswith("/auc"))
    return [facts.identity, facts.model, facts.dataset, facts.origin, str(facts.seed), state, aucs]


def _modified(path: Path) -> float:
    return path.stat().st_mtime
