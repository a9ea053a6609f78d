"""A made-up figure with one of everything that is drawn."""

from mtlbench.report.figure import Bars, Curve, FigureResult, HeatMap, Lines, Point, Scatter, Series
from mtlbench.report.result import Claim, Run
from report.tables import EVIL, MARKS

HEAT = HeatMap(
    title="coefficients",
    x_name="expert",
    y_name="task",
    value_name="coefficient",
    x=("cross", "field", "deep"),
    y=("click", "buy"),
    values=((0.25, 1.0, 1.5), (None, 2.125, 0.5)),
    centre=1.0,
)
LINES = Lines(
    title="width",
    x_name="embedding width",
    y_name="AUC",
    log_x=True,
    curves=(
        Curve(label="MPA", x=(4, 8, 32), y=(0.61, 0.64, 0.63), low=(0.6, 0.63, 0.62), high=(0.62, 0.65, 0.64)),
        Curve(label=EVIL, x=(4, 8, 32), y=(0.6, 0.605, 0.62)),
        Curve(label="as printed", x=(4, 32), y=(0.66, 0.66), reference=True),
    ),
)
BARS = Bars(
    title="functions",
    y_name="mean AUC",
    groups=("add cos", "mul exp"),
    base=0.5,
    series=(
        Series(label="MPA", values=(0.71, None), errors=(0.01, None)),
        Series(label="DEPHN", values=(0.45, 0.75), errors=(None, 0.02)),
    ),
)
SCATTER = Scatter(
    title="tasks",
    x_name="AUC of click",
    y_name="AUC of buy",
    points=(
        Point(label="DEPHN", x=0.6, y=0.8, x_error=0.01, y_error=0.02),
        Point(label="MPA", x=0.7, y=0.7),
        Point(label=EVIL, x=0.6, y=0.7),
    ),
    front=("DEPHN", "MPA"),
)


def drawing() -> FigureResult:
    """All kinds of panels, a hostile label, a hole of each kind, marks, findings, notes, a run, something missing."""
    run = Run(identity="id0", seed=0, dataset="Ali-CCP", origin="simulated", link="https://mlflow.example/#/runs/1")
    return FigureResult(
        name="made_fig1",
        title="Made up $x_1$ & <b>drawn</b>",
        paper="P: A 100 % paper, V",
        place="Figure 1",
        panels=(HEAT, LINES, BARS, SCATTER),
        claims=(
            Claim(text="MPA rises and then falls", verdict="fails", evidence=("it rises only",), condition="scaled"),
        ),
        findings=("MPA is best at a width of 8, as the paper says", EVIL),
        footnotes=("1 of 5 seeds", f"note {EVIL}"),
        marks=MARKS,
        runs=(run,),
        missing=("DEPHN with mul_exp on MPA",),
    )
