"""A small made-up table result with one of everything that a renderer has to show."""

from mtlbench.report.result import Cell, Claim, Comparison, Cost, Measured, Row, Run, TableColumn, TableResult

EVIL = '<script>alert("&")</script><img src=http://evil.example/x onerror=alert(1)>'
CLICK = TableColumn(dataset="Ali-CCP", task="click", metric="auc")
BUY = TableColumn(dataset="Ali-CCP", task="buy_now", metric="auc", statistic="best", digits=3)
BUY_MEAN = TableColumn(dataset="Ali-CCP", task="buy_now", metric="auc", digits=3)
LOSS = TableColumn(dataset="Census", task="all", metric="logloss_sum", digits=2)
MARKS = ("SIMULATED DATA: Ali-CCP", "SCALED: 0.01 of the published rows, one seed")


def measured(mean: float, deviation: float | None = 0.0027) -> Measured:
    several = deviation is not None
    return Measured(
        seeds=(0, 1) if several else (0,),
        values=(mean - 0.001, mean + 0.001) if several else (mean,),
        mean=mean,
        deviation=deviation,
        interval=(mean - 0.01, mean + 0.01) if several else None,
        best=mean + 0.001 if several else mean,
    )


def cost(parameters: int) -> Cost:
    return Cost(
        dataset="Ali-CCP",
        parameters=parameters,
        embedding_parameters=8176,
        peak_memory_mb=461.4,
        rows_per_second=11009.0,
        seconds=7.31,
        seconds_to_best=6.25,
    )


def row(label: str, group: str, cells: tuple[Cell, ...], place: int = 0, link: str | None = None) -> Row:
    curve = (0.6 + place / 100, 0.7 + place / 100)
    run = Run(identity=f"id{place}", seed=0, dataset="Ali-CCP", origin="simulated", link=link, curve=curve)
    return Row(label=label, group=group, cells=cells, runs=(run,), costs=(cost(1000 * (9 - place)),))


def not_run(printed: str | None) -> Cell:
    return Cell(printed=printed, bold=None, measured=None, verdict="not run")


def example() -> TableResult:
    """Four rows: plain, significant with a link, hostile, never run. Their means rank other than their order."""
    simulated, scaled = "not comparable: simulated", "not comparable: scaled"
    versus = Comparison(against="DNN", difference=0.0312, t_test=0.0041, wilcoxon=None, better=True)
    single = (
        Cell(printed="0.6275", bold=False, measured=measured(0.7034), verdict=simulated, footnotes=(0,)),
        Cell(printed="0.531", bold=None, measured=measured(0.6123), verdict=simulated),
        Cell(printed="0.531", bold=None, measured=measured(0.6123), verdict=simulated),
        Cell(printed="0.50", bold=False, measured=measured(0.521), verdict="above"),
    )
    multi = (
        Cell(printed="0.6259", bold=True, measured=measured(0.7346), verdict=simulated, comparison=versus),
        Cell(
            printed=None, bold=None, measured=measured(0.5987, None), verdict=scaled, gain=-2.25, negative_transfer=True
        ),
        Cell(
            printed=None, bold=None, measured=measured(0.5987, None), verdict=scaled, gain=-2.25, negative_transfer=True
        ),
        Cell(printed="0.48", bold=True, measured=measured(0.4815), verdict="within", footnotes=(0, 1)),
    )
    hostile = (
        Cell(printed="0.6100", bold=None, measured=measured(0.6999), verdict=simulated),
        not_run("0.600"),
        not_run("0.600"),
        Cell(printed=None, bold=None, measured=measured(0.47), verdict="nothing printed"),
    )
    return TableResult(
        name="made_up",
        title="Made up & <b>small</b>",
        paper="P: A 100 % paper, V",
        place="Table II",
        columns=(CLICK, BUY, BUY_MEAN, LOSS),
        rows=(
            row("DNN", "single-task", single),
            row("MM_oE", "multi-task", multi, 1, "https://mlflow.example/#/runs/1"),
            row(EVIL, EVIL, hostile, 2, "javascript:alert(1)"),
            Row(label="Later", group="", cells=(not_run("0.65"), not_run(None), not_run(None), not_run("0.4"))),
        ),
        claims=(
            Claim(text="MM_oE beats DNN", verdict="holds", evidence=("MM_oE - DNN: +0.0312 (p = 0.0041)",)),
            Claim(text=EVIL, verdict="not run", evidence=(EVIL,)),
        ),
        agreement={CLICK.name: -0.33, LOSS.name: None},
        ranks={"DNN": 1.5, "MM_oE": 1.25, EVIL: 3.0},
        footnotes=("2 of 5 seeds", f"note {EVIL}"),
        marks=MARKS,
        summary="10 of 16 cells were run; 1 of 2 are within tolerance of the paper",
    )
