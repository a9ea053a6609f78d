"""``mtlbench export``: a finished run as a folder that scores rows anywhere."""

from pathlib import Path

from mtlbench.cli.choices import flags
from mtlbench.cli.evaluate import find_run
from mtlbench.experiment.errors import ConfigError

USAGE = """usage: mtlbench export <run> [--to <folder>] [--split test|valid|train] [--rows <n>] [--no-onnx] [--log]
                       [run.folder=runs]

<run> is a run's folder, or the beginning of its name. Writes a folder that needs neither this machine nor mtlbench:
an MLflow model (raw columns in, a probability per task out; vocabularies, scales and code inside, no pickle) and an
ONNX graph of the network (ids in; needs the extra `export`). Both must give the run's own probabilities on the
example's rows, otherwise nothing is written.

  --to <folder>     default: exported/<run>
  --split, --rows   which rows of the run's data become example.parquet, in raw form, beside the run's own
                    probabilities; default: the first 200 of test
  --no-onnx         the MLflow model alone
  --log             also sends the folder to MLflow as a model of the run, where the run itself is sent to
"""


def run(arguments: list[str]) -> int:
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0 if arguments else 2
    chosen, words = flags(arguments, values=("to", "split", "rows"), switches=("no-onnx", "log"))
    name, runs = _run_of(words)
    from mtlbench.cli.render import head_text
    from mtlbench.export.bundle import EXAMPLE, export_run

    folder = find_run(name, runs)
    rows = chosen.get("rows", "200")
    if not rows.isdecimal() or int(rows) == 0:
        raise ConfigError(f"--rows is '{rows}'; allowed: 1 or more")
    to = Path(chosen.get("to") or Path("exported", folder.resolve().name))
    split = chosen.get("split", "test")
    done = export_run(folder, to, split=split, rows=int(rows), onnx="no-onnx" not in chosen)
    facts = done.run.facts
    print(head_text(facts.model, facts.dataset, facts.seed, split, facts.origin))
    print(f"  {done.folder}")
    for way, difference in done.differences.items():
        print(f"  {way}: within {difference:.1g} of the run's probabilities on {done.rows} rows")
    if done.rounded:
        print(f"  exported in float32; the run's own {done.run.settings.precision} is up to {done.rounded:.1g} away")
    if done.stand_ins:
        print(f"  {EXAMPLE} holds stand-ins for values that are unknown: {counted(done.stand_ins)}")
    if "log" in chosen:
        from mtlbench.export.log import log_model

        print(f"  {log_model(folder, to)}")
    return 0


def counted(unknown: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in unknown.items())


def _run_of(words: list[str]) -> tuple[str, Path]:
    names = [word for word in words if not word.startswith("run.folder=")]
    folders = [word.removeprefix("run.folder=") for word in words if word.startswith("run.folder=")]
    if len(names) != 1 or "=" in names[0]:
        raise ConfigError(f"name one run; found {names or 'none'}. `mtlbench list runs` shows them")
    return names[0], Path(folders[-1] if folders else "runs")
