"""``mtlbench list``: what there is to choose from, and the runs so far."""

import difflib
import json
from pathlib import Path

from mtlbench.cli.choices import GROUPS, choices
from mtlbench.experiment.build import ConfigError

USAGE = "usage: mtlbench list [models|datasets|optimizers|...|runs] [run.folder=runs]\n"


def run(arguments: list[str]) -> int:
    words = [word for word in arguments if "=" not in word and not word.startswith("-")]
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0
    if words == ["runs"]:
        return _runs(Path(dict(word.split("=", 1) for word in arguments if "=" in word).get("run.folder", "runs")))
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

    rows = []
    for described in sorted(folder.glob("*/run.json"), key=lambda path: path.stat().st_mtime):
        run = json.loads(described.read_text())
        status = described.with_name("status.json")
        state = json.loads(status.read_text())["state"] if status.exists() else "begun"
        result = described.with_name("result.json")
        metrics = json.loads(result.read_text())["metrics"] if result.exists() else {}
        aucs = ", ".join(
            f"{name.split('/')[1]} {value:.4f}" for name, value in metrics.items() if name.endswith("/auc")
        )
        rows.append([run["identity"], run["model"], run["dataset"], run["origin"], str(run["seed"]), state, aucs])
    print(
        table(["run", "model", "data set", "origin", "seed", "state", "test AUC"], rows)
        if rows
        else f"no runs in {folder}; `mtlbench train` makes some"
    )
    return 0
