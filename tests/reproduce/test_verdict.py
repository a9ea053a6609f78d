"""What a measured number says about a printed one, at the edge of the tolerance."""

import pytest

from mtlbench.report.result import Column
from mtlbench.reproduce.statistics import spread
from mtlbench.reproduce.table import Printed
from mtlbench.reproduce.verdict import cell_verdict


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.955, "within"), (0.945, "within"), (0.95501, "above"), (0.94499, "below")]
)
def test_a_number_at_the_edge_of_the_tolerance_is_within(value: float, verdict: str) -> None:
    """0.955 - 0.95 is more than 0.005 by one rounding."""
    column = Column(dataset="d", task="click", metric="auc")
    printed = Printed(text="0.95", bold=False, target=True, note="")
    measured = spread({0: value}, higher_is_better=True)
    assert cell_verdict(column, printed, measured, {"auc": 0.005}, None, ran=True) == verdict
