"""``mtlbench score``: raw rows of a file scored by an exported model."""

import time
from pathlib import Path

from mtlbench.cli.choices import flags
from mtlbench.cli.export import counted
from mtlbench.experiment.errors import ConfigError

USAGE = """usage: mtlbench score <exported folder> <rows>.parquet|<rows>.csv [--to predictions.parquet] [--onnx]

Writes the row's number and p_<task> for every row, reading and writing chunk by chunk. A row has a column for each of
the model's fields, with raw values as the data set's reader gives them: dimension tables joined, a field of several
values as a list (in CSV as JSON), the weights of its entries as a list in <field>:weight. An empty cell is a missing
value.

  --onnx   by ONNX Runtime instead of torch; needs the extra `export`
"""


def run(arguments: list[str]) -> int:
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")
        return 0 if arguments else 2
    chosen, words = flags(arguments, values=("to",), switches=("onnx",))
    if len(words) != 2:
        raise ConfigError(f"name an exported folder and a file of rows; found {words or 'none'}")
    from mtlbench.export.score import score_file
    from mtlbench.export.scorer import open_exported

    to = Path(chosen.get("to") or "predictions.parquet")
    scorer = open_exported(Path(words[0]), "onnx" in chosen)
    began = time.perf_counter()
    scored = score_file(scorer, Path(words[1]), to)
    seconds = time.perf_counter() - began
    simulated = "  SIMULATED DATA" if scorer.facts["origin"] == "simulated" else ""
    print(f"{to}: {scored.rows:,} rows, {scored.rows / seconds:,.0f} rows/s{simulated}")
    if scorer.unknown:
        print(f"  values that the model does not know: {counted(scorer.unknown)}")
    if scored.unused:
        print(f"  columns that the model does not ask for: {', '.join(scored.unused)}")
    return 0
