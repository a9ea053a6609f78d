"""The pyfunc model served by MLflow; copied into the export as code, so that nothing is pickled."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from mtlbench.export.columns import ColumnError
from mtlbench.export.frame import score_frame
from mtlbench.export.scorer import opened


class Served(PythonModel):
    """Pyfunc model: raw columns in, one prediction per task out."""

    def load_context(self, context: PythonModelContext) -> None:
        self.scorer = opened(Path(context.artifacts["model"]), None)

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  # the base class is annotated to return nothing
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        try:
            return score_frame(self.scorer, model_input)
        except ColumnError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


set_model(Served())
