"""Python interface: train, load, list and reproduce from a script or a notebook.

Examples:
    >>> import mtlbench
    >>> run = mtlbench.train("model=mmoe", "dataset=census", "dataset.source=simulated", "dataset.simulator.rows=900",
    ...                      "trainer.epochs=1", "tracker=none", seed=0)
    >>> 0 < run.metrics["income/auc"] < 1
    True
    >>> len(run.curves["valid/income/auc"].dropna())
    1
    >>> mtlbench.runs("model=mmoe", "seed=0").index[0] == run.identity
    True

Overrides are those of the command line (``mtlbench train --help``); its error messages are raised as `ValueError`.
A configuration can name your own code only if ``allow`` names its package. Heavy packages are imported on demand.
"""

from mtlbench.api.commands import load, reproduce, runs, train
from mtlbench.api.reproduced import Reproduced
from mtlbench.api.run import Run

__all__ = ["Reproduced", "Run", "load", "reproduce", "runs", "train"]
