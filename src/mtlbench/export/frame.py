"""Scores a DataFrame of raw rows."""

import pandas as pd

from mtlbench.experiment.evaluation import TrainedRun
from mtlbench.export.columns import from_python, unused
from mtlbench.export.inputs import Inputs, training_files
from mtlbench.export.scorer import Scorer, Scoring, torch_predictions


def run_scorer(run: TrainedRun) -> Scorer:
    """The scorer of a run on the CPU, the same as that of its export, without writing one."""
    return Scorer(
        inputs=Inputs.of(run.store, training_files(run.config)),
        predictions=torch_predictions(Scoring(run.model, run.losses, run.store.schema.tasks)),
        facts={},
        rows_at_once=run.settings.evaluation_batch_size,
    )


def score_frame(scorer: Scorer, rows: pd.DataFrame) -> pd.DataFrame:
    """Predictions for every row (columns `Scorer.names`), with the index of `rows`.

    Args:
        scorer: scorer of a run or of an export.
        rows: has a column for each of `Inputs.columns`, by name or alias; other columns are ignored.

    Raises:
        ColumnError: a column is missing, or a row cannot be scored.
    """
    columns = scorer.inputs.columns
    names = [str(name) for name in rows.columns]
    unused(names, columns)
    held = {column.name: rows.iloc[:, names.index(column.within(names))] for column in columns}
    dense = {n: s.sparse.to_dense() if isinstance(s.dtype, pd.SparseDtype) else s for n, s in held.items()}
    raw = {column.name: from_python(dense[column.name], column) for column in columns}
    return pd.DataFrame(scorer(raw), columns=scorer.names, index=rows.index)
