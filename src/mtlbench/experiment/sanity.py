"""Sanity checks of metrics: constant scores, log loss above the base rate, poor calibration."""

from collections.abc import Mapping, Sequence

from mtlbench.tracking.journal import Line

CALIBRATED = (0.5, 2.0)
"""PCOC (mean prediction over observed rate) outside of which a task's probabilities are called uncalibrated."""


class SuspiciousMetricsWarning(UserWarning):
    """A run's scores of a task are all equal, worse than a constant, or far from the observed rate."""


def suspicious(metrics: Mapping[str, float], split: str) -> list[str]:
    """What is wrong with the scores of a split, a sentence for each task and finding.

    Args:
        metrics: by name, ``<split>/<task>/<metric>``.
        split: whose metrics are looked at.
    """
    found: list[str] = []
    for name in metrics:
        if not name.startswith(f"{split}/") or not name.endswith("/equal_scores"):
            continue
        at = name.removesuffix("equal_scores")
        where = f"task '{at.split('/')[1]}' on {split}"
        loss, constant, pcoc = (metrics.get(at + metric) for metric in ("logloss", "logloss_constant", "pcoc"))
        if metrics[name]:
            found.append(f"{where}: all scores are equal, so they rank nothing (AUC 0.5)")
        elif loss is not None and constant is not None and loss > constant:
            found.append(f"{where}: log loss {loss:.4f} is above that of a constant prediction, {constant:.4f}")
        if pcoc is not None and not CALIBRATED[0] <= pcoc <= CALIBRATED[1]:
            found.append(f"{where}: PCOC {pcoc:.2f} (predicted over observed rate) is outside {list(CALIBRATED)}")
    return found


def selected_validation(lines: Sequence[Line], best_step: Mapping[str, int]) -> dict[str, float]:
    """Validation metrics of the steps whose weights were kept, from a journal.

    Args:
        lines: of the journal.
        best_step: by task, or ``model`` for all tasks.
    """
    found: dict[str, float] = {}
    for line in lines:
        for name, value in line.values.items():
            split, _, rest = name.partition("/")
            step = best_step.get(rest.partition("/")[0], best_step.get("model"))
            if split == "valid" and line.step == step:
                found[name] = value
    return found
