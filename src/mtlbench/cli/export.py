"""``mtlbench export``: writes a finished run as a self-contained folder that scores raw rows."""

from pathlib import Path

import click

from mtlbench.cli import arguments


@click.command(cls=arguments.Command)
@arguments.run
@arguments.path_option("--to", help="Output folder; by default exported/<run>.")
@arguments.split
@click.option("--rows", type=click.IntRange(1), default=200, show_default=True, help="Rows of example.parquet.")
@click.option("--no-onnx", is_flag=True, help="Write the MLflow model only.")
@click.option("--log", is_flag=True, help="Also send the folder to MLflow, as a model of the run.")
@arguments.overrides(arguments.RUNS)
def command(run: str, to: Path | None, split: str, rows: int, no_onnx: bool, log: bool, overrides: list[str]) -> None:
    """Write a run as an MLflow model and an ONNX graph.

    RUN is a run's folder, or a prefix of its name. The folder that is written depends neither on this machine nor on
    mtlbench. It holds an MLflow model (raw columns in, one prediction per task out; with vocabularies, scales and
    code, no pickle) and an ONNX graph of the network (ids in; needs the extra `export`). Nothing is written unless
    both reproduce the run's predictions on example.parquet (raw rows of the split with the run's predictions).

    \b
    Example:
      mtlbench export 3f2a --to exported/mmoe run.folder=/data/runs
    """
    keys = arguments.read_keys(overrides, arguments.RUNS)
    from mtlbench.cli.render import counts_text, head_text
    from mtlbench.export.bundle import EXAMPLE, export_run

    folder = arguments.find_run(run, Path(keys["run.folder"]))
    to = to or Path("exported", folder.resolve().name)
    done = export_run(folder, to, split=split, rows=rows, onnx=not no_onnx)
    facts = done.run.facts
    print(head_text(facts.model, facts.dataset, facts.seed, split, facts.origin))
    print(f"  {done.folder}")
    for way, difference in done.differences.items():
        print(f"  {way}: within {difference:.1g} of the run's predictions on {done.rows} rows")
    if done.rounded:
        print(f"  exported in float32; {done.run.settings.precision} predictions differ by up to {done.rounded:.1g}")
    if done.stand_ins:
        print(f"  {EXAMPLE} holds placeholders for unknown values: {counts_text(done.stand_ins)}")
    if log:
        from mtlbench.export.log import log_model

        print(f"  {log_model(folder, to)}")
