"""Summary of a search: best trial, scores by number of trials, importance of parameters, cost."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

from mtlbench.experiment.tuned import Tuned
from mtlbench.files import write_beside
from mtlbench.metrics.names import Metric
from mtlbench.report.terminal import table
from mtlbench.reproduce.statistics import expected_best
from mtlbench.tracking.folder import read_result
from mtlbench.tuning.search import NothingFoundError, Search, Untuned
from mtlbench.tuning.trials import Record, Trial

SCORE = Metric(title="validation score", better="higher")


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Summary of a search; the fields are the keys of its JSON file.

    Attributes:
        study, model, dataset, data, origin: name of the study, model, and data.
        search: sampler, pruner and seed, as text.
        select: the selection score, which is the score of a trial.
        settings: overrides common to all trials.
        untuned: the run of these settings alone.
        best: the complete trial with the highest score; the first of equal ones.
        convergence: a sentence that says whether the run of the best trial had converged.
        best_so_far: highest score of a complete trial after each trial; ``None`` before the first.
        expected_best: expected highest score among n randomly drawn trials with a score, for n = 1, 2, ...
        importance: importance of each key, by PED-ANOVA; empty if too few trials were complete.
        seconds, steps: totals over all trials, without the untuned run.
        trials: all trials.
    """

    study: str
    model: str
    dataset: str
    data: str
    origin: str
    search: str
    select: str
    settings: list[str]
    untuned: Untuned
    best: Trial
    convergence: str | None
    best_so_far: list[float | None]
    expected_best: list[float]
    importance: dict[str, float]
    seconds: float
    steps: int
    trials: list[Trial]

    def count(self, state: str) -> int:
        """Number of trials that ended in a state."""
        return sum(trial.state == state for trial in self.trials)

    @property
    def gain(self) -> float | None:
        """Validation score of the best trial above that of the untuned run; ``None`` where that failed."""
        return None if self.untuned.score is None else _score(self.best) - self.untuned.score

    @property
    def comparison(self) -> str:
        """The untuned run beside the best trial, as a sentence."""
        untuned = self.untuned
        if untuned.score is None or self.gain is None:
            return f"untuned run failed: {untuned.reason}"
        text = f"untuned: {SCORE.text(untuned.score)}, run {untuned.run}; best trial minus untuned: {self.gain:+.4f}"
        return text if self.gain > 0 else f"{text}, so tuned=true keeps the untuned settings"

    @property
    def tuned(self) -> Tuned:
        """The tuned settings: those of the best trial, or the untuned settings if no trial is better."""
        better = self.gain is None or self.gain > 0
        return Tuned(
            model=self.model,
            dataset=self.dataset,
            data=self.data,
            overrides=[*self.settings, *(self.best.words if better else ())],
            score=(self.best.score if better else self.untuned.score) or 0.0,
            untuned=self.untuned.score,
            run=self.best.run if better else self.untuned.run,
            trials=len(self.trials),
            search=self.search,
        )


def summarize(plan: Search, record: Record, untuned: Untuned) -> Summary:
    """Summarise a search.

    Raises:
        NothingFoundError: all trials failed.
    """
    trials = record.trials
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        reasons = dict.fromkeys(str(trial.reason) for trial in trials)
        raise NothingFoundError(
            f"model={plan.model} dataset={plan.base.dataset}: all {len(trials)} trials failed: "
            f"{'; '.join(reasons)}. Narrow the search space (--space FILE), or fix the settings"
        )
    best = max(complete, key=_score)
    scores = [_score(trial) for trial in trials if trial.score is not None]
    so_far = accumulate((trial.score if trial.state == "complete" else None for trial in trials), _higher)
    convergence = read_result(plan.runs / best.run).convergence
    method = plan.method
    return Summary(
        study=plan.name,
        model=plan.model,
        dataset=plan.base.dataset,
        data=plan.base.data.fingerprint,
        origin=plan.base.data.origin,
        search=f"{method.sampler}, pruner {method.pruner}, seed {method.seed}",
        select=str(plan.base.config.trainer.select),
        settings=plan.fixed,
        untuned=untuned,
        best=best,
        convergence=None if convergence is None else convergence.text,
        best_so_far=list(so_far),
        expected_best=[expected_best(scores, n, SCORE) for n in range(1, len(scores) + 1)],
        importance=record.importances(),
        seconds=sum(trial.seconds for trial in trials),
        steps=sum(trial.steps for trial in trials),
        trials=trials,
    )


def _score(trial: Trial) -> float:
    assert trial.score is not None, "failed trials have none, and are not compared"
    return trial.score


def _higher(best: float | None, score: float | None) -> float | None:
    return best if score is None or (best is not None and best >= score) else score


def write_summary(summary: Summary, beside: Path) -> list[Path]:
    """Write Markdown and JSON files beside a tuned file, with its name."""
    files = [beside.with_suffix(ending) for ending in (".md", ".json")]
    write_beside(files[0], markdown(summary).encode())
    write_beside(files[1], (json.dumps(asdict(summary), indent=1) + "\n").encode())
    return files


def terminal_table(summaries: Sequence[Summary]) -> str:
    """A table with one row per search, and details of each."""
    rows = [
        [
            f"{each.model} on {each.dataset}",
            "-" if each.untuned.score is None else SCORE.text(each.untuned.score),
            SCORE.text(_score(each.best)),
            str(each.best.number),
            str(len(each.trials)),
            str(each.count("pruned")),
            str(each.count("failed")),
            f"{each.steps:,}",
            f"{each.seconds:,.0f}",
        ]
        for each in summaries
    ]
    simulated = dict.fromkeys(each.dataset for each in summaries if each.origin == "simulated")
    caption = "best validation score" + f"  SIMULATED DATA: {', '.join(simulated)}" * bool(simulated)
    head = ["", "untuned", "tuned", "trial", "trials", "pruned", "failed", "steps", "seconds"]
    return "\n".join(["", caption, "", table(head, rows), "", *(_findings(each) for each in summaries)])


def _findings(summary: Summary) -> str:
    """The best trial's settings and convergence, and the importance of keys, for a terminal."""
    lines = [f"  {summary.model} on {summary.dataset}: {' '.join(summary.best.words)}"]
    lines.append(f"    {summary.comparison}")
    if summary.convergence:
        lines.append(f"    {summary.convergence}")
    if summary.importance:
        shares = ", ".join(f"{key} {share:.0%}" for key, share in list(summary.importance.items())[:4])
        lines.append(f"    importance: {shares}")
    lines += [f"    trial {trial.number} failed: {trial.reason}" for trial in summary.trials if trial.state == "failed"]
    return "\n".join(lines)


def markdown(summary: Summary) -> str:
    """The complete summary as Markdown."""
    marks = ["", "**SIMULATED DATA**"] if summary.origin == "simulated" else []
    importance = [f"| {key} | {share:.1%} |" for key, share in summary.importance.items()]
    curve = [
        f"| {n} | {value:.4f} | {'' if (so_far := summary.best_so_far[n - 1]) is None else f'{so_far:.4f}'} |"
        for n, value in enumerate(summary.expected_best, start=1)
    ]
    listed = [
        f"| {trial.number} | {trial.state} | {'' if trial.score is None else f'{trial.score:.4f}'} | {trial.steps:,} | "
        f"{trial.run} | {_cell(' '.join(trial.words))}{_cell(f': {trial.reason}' if trial.reason else '')} |"
        for trial in summary.trials
    ]
    return "\n".join(
        [
            f"# {summary.model} on {summary.dataset}, tuned",
            *marks,
            "",
            f"Search: {summary.search}. Score: validation {summary.select}, higher is better; test data were not used.",
            f"Best: trial {summary.best.number}, {_score(summary.best):.4f}, run {summary.best.run}: "
            f"`{' '.join(summary.best.words)}`",
            f"{summary.comparison[:1].upper()}{summary.comparison[1:]}",
            f"Settings of all trials: `{' '.join(summary.settings) or 'none'}`",
            *([f"The run of the best trial: {summary.convergence}"] if summary.convergence else []),
            f"Cost: {len(summary.trials)} trials ({summary.count('pruned')} pruned, {summary.count('failed')} failed), "
            f"{summary.steps:,} steps, {summary.seconds:,.0f} seconds",
            "",
            "Expected best of n trials drawn at random from those with a score (a pruned one has its score so far), "
            "and the best so far in the order of the search:",
            "",
            "| n | expected best | best so far |",
            "|---|---|---|",
            *curve,
            "",
            *(
                ["| parameter | importance (PED-ANOVA) |", "|---|---|", *importance]
                if importance
                else ["Importance of parameters: too few complete trials to tell."]
            ),
            "",
            "| trial | state | score | steps | run | settings |",
            "|---|---|---|---|---|---|",
            *listed,
            "",
        ]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
