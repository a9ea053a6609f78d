"""A reproduced table or figure, as a data frame and as text."""

from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from mtlbench.report.figure import FigureResult
    from mtlbench.report.result import TableResult


@dataclass(frozen=True)
class Reproduced:
    """A reproduced table or figure.

    Attributes:
        result: the content of its page: cells, claims, footnotes, runs.
    """

    result: "TableResult | FigureResult"

    @property
    def frame(self) -> "pd.DataFrame":
        """A row per cell: printed and measured numbers, verdict, comparison.

        Raises:
            ValueError: a figure has no cells.
        """
        import pandas as pd

        from mtlbench.report.result import TableResult
        from mtlbench.report.text import comma_separated

        if not isinstance(self.result, TableResult):
            raise ValueError(f"{self.result.name} is a figure, which has no cells; its curves are in `result.panels`")
        return pd.read_csv(StringIO(comma_separated(self.result)))

    def __str__(self) -> str:
        from mtlbench.reproduce.write import terminal_text

        return terminal_text(self.result)
