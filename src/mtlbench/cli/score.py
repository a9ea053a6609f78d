"""``mtlbench score``: scores raw rows of a file with an exported model."""

import time
from pathlib import Path

import click

from mtlbench.cli import arguments
from mtlbench.cli.complete import complete_path


@click.command(cls=arguments.Command)
@click.argument("folder", type=Path, shell_complete=complete_path)
@click.argument("rows", type=Path, shell_complete=complete_path)
@arguments.path_option("--to", default="predictions.parquet", help="Parquet file to write.")
@click.option("--onnx", is_flag=True, help="Use ONNX Runtime instead of torch; needs the extra `export`.")
def command(folder: Path, rows: Path, to: Path, onnx: bool) -> None:
    """Score rows of a Parquet or CSV file with an exported model.

    FOLDER was written by `mtlbench export`; ROWS is a Parquet or CSV file. The output has, for every row, its number,
    its key (if the data set names one and the file has it), and a prediction per task: p_<task>, a probability, or for
    a regression task predicted_<task>, in the units of the label. ROWS needs a column for each field of the model,
    named as the field or as in the training files, with raw values as the data set's reader gives them: dimension
    tables joined, a multi-valued field as a list (in CSV as JSON, or with the field's separator), the weights of its
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
        print(f"  unknown values, not seen in training: {counts_text(scorer.unknown)}")
    if scored.unused:
        print(f"  unused columns: {', '.join(scored.unused)}")
