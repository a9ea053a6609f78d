"""``mtlbench score``: raw rows of a file scored by an exported model."""

import time
from pathlib import Path

import click

from mtlbench.cli import arguments
from mtlbench.cli.complete import complete_path


@click.command(cls=arguments.Command)
@click.argument("folder", type=Path, shell_complete=complete_path)
@click.argument("rows", type=Path, shell_complete=complete_path)
@arguments.path_option("--to", default="predictions.parquet", help="Parquet file to write.")
@click.option("--onnx", is_flag=True, help="By ONNX Runtime instead of torch; needs the extra `export`.")
def command(folder: Path, rows: Path, to: Path, onnx: bool) -> None:
    """Score rows of a Parquet or CSV file by an exported model.

    FOLDER is what `mtlbench export` wrote, ROWS a Parquet or CSV file. Writes the row's number, its key where the
    data set names one and the file has it, and p_<task> (a probability; of a regression task predicted_<task>, in the
    units of its label) for every row, chunk by chunk. A row has a column for each of the model's fields, by the field's
    name or else by that of the training files, with raw values as the data set's reader gives them: dimension tables
    joined, a field of several values as a list (in CSV as JSON, or with the field's separator), the weights of its
    entries as a list in <field>:weight. An empty cell is a missing value.

    \b
    Example:
      mtlbench score exported/mmoe rows.parquet --to predictions.parquet
    """
    from mtlbench.cli.render import counts_text
    from mtlbench.export.score import score_file
    from mtlbench.export.scorer import open_exported

    scorer = open_exported(folder, onnx)
    began = time.perf_counter()
    scored = score_file(scorer, rows, to)
    seconds = time.perf_counter() - began
    simulated = "  SIMULATED DATA" if scorer.facts["origin"] == "simulated" else ""
    print(f"{to}: {scored.rows:,} rows, {scored.rows / seconds:,.0f} rows/s{simulated}")
    if scorer.unknown:
        print(f"  values that the model does not know: {counts_text(scorer.unknown)}")
    if scored.unused:
        print(f"  columns that the model does not ask for: {', '.join(scored.unused)}")
