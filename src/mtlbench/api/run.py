"""A run in its folder: result, curves, model, predictions and analyses."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlbench.api.overrides import as_words

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from mtlbench.experiment.evaluation import TrainedRun
    from mtlbench.export.scorer import Scorer
    from mtlbench.result import Result


@dataclass(frozen=True)
class Run:
    """A run in its folder, from which everything is read on demand.

    Attributes:
        folder: folder of the run, named by its identity.
        allow: your packages that its configuration may name.
        config_dir: folder of their code, unless it is installed.
    """

    folder: Path
    allow: tuple[str, ...] = field(default=(), repr=False)
    config_dir: Path | None = field(default=None, repr=False)

    @property
    def identity(self) -> str:
        """Hash of its configuration and data: the name of its folder."""
        return self.folder.name

    @cached_property
    def result(self) -> "Result":
        """The result of the finished run: metrics and cost.

        Raises:
            DamagedFileError: the run has not finished, or the file is damaged.
        """
        from mtlbench.tracking.folder import read_result

        return read_result(self.folder)

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics by ``<task>/<metric>``; undefined ones are in ``result.undefined``."""
        return self.result.test.values

    @property
    def curves(self) -> "pd.DataFrame":
        """Everything measured during training: a row per evaluation or log step, a column per name."""
        import pandas as pd

        from mtlbench.tracking.journal import Journal

        lines = [{"step": line.step, "epoch": line.epoch, **line.values} for line in Journal(self.folder).read()]
        return pd.DataFrame(lines, columns=None if lines else ["step", "epoch"]).set_index("step")

    @property
    def configuration(self) -> dict[str, Any]:
        """The resolved configuration, as nested plain values."""
        from mtlbench.tracking.folder import CONFIG
        from mtlbench.tracking.parameters import read_config

        return read_config(self.folder / CONFIG)

    @property
    def model(self) -> "nn.Module":
        """The trained model with the selected weights, in evaluation mode, on the CPU.

        Raises:
            ValueError: the run has no weights, or its data no longer exist.
        """
        return self._trained.model.eval()

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """Predictions of raw rows, with their index: probabilities ``p_<task>``, numbers ``predicted_<task>``.

        Args:
            rows: has a column for each field, named as the field or as in the training files, with raw values as the
                data set's reader gives them: dimension tables joined, a multi-valued field as a list. ``mtlbench
                score`` reads the same columns.

        Raises:
            ValueError: a column is missing, or a value is not allowed; the message has the column and the row.
        """
        from mtlbench.export.frame import score_frame

        return score_frame(self._scorer, rows)

    def slices(self, *fields: str, split: str = "test", bins: int = 5, min_rows: int = 50) -> "pd.DataFrame":
        """Metrics by slice: for each task and each value of a field, or each combination of several fields' values.

        Args:
            fields: names of fields, which need not be inputs of the model.
            split: the split to measure.
            bins: maximum number of bins of a number field, with quantiles as edges.
            min_rows: values with fewer rows are pooled.

        Raises:
            ValueError: the field or split does not exist, or the values make no slices.
        """
        with as_words((), self.allow, self.config_dir):
            from mtlbench.experiment.analysis import metrics_by_slice, scored_split
            from mtlbench.report.frames import slices_frame

            scored = scored_split(self.folder, split, "cpu")
            return slices_frame(metrics_by_slice(scored, fields, bins=bins, min_rows=min_rows))

    def calibration(self, split: str = "test") -> "pd.DataFrame":
        """Predicted and observed values of each task, in 15 quantile bins.

        Raises:
            ValueError: the split does not exist, or the run's data no longer exist.
        """
        with as_words((), self.allow, self.config_dir):
            from mtlbench.experiment.analysis import scored_split
            from mtlbench.metrics.reliability import reliability
            from mtlbench.report.frames import calibration_frame

            return calibration_frame(reliability(scored_split(self.folder, split, "cpu").rows))

    def importance(
        self, split: str = "test", *, repeats: int = 5, seed: int = 0, sample_rows: int = 100_000
    ) -> "pd.DataFrame":
        """Permutation importance: the loss in quality of each metric when a field is shuffled among the rows.

        Args:
            split: the split to score.
            repeats, seed: of the permutations.
            sample_rows: number of rows to sample from a larger split.

        Raises:
            ValueError: the split does not exist, or the run has no weights or data.
        """
        with as_words((), self.allow, self.config_dir):
            from mtlbench.experiment.analysis import permutation_importance
            from mtlbench.report.frames import importance_frame

            found = permutation_importance(
                self.folder, split, "cpu", repeats=repeats, seed=seed, sample_rows=sample_rows
            )
            return importance_frame(found)

    @cached_property
    def _trained(self) -> "TrainedRun":
        with as_words((), self.allow, self.config_dir):
            from mtlbench.experiment.evaluation import load_run

            return load_run(self.folder, "cpu")

    @cached_property
    def _scorer(self) -> "Scorer":
        from mtlbench.export.frame import run_scorer

        return run_scorer(self._trained)
