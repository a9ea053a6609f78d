"""Outcomes as the Markdown table of ``docs/reliability.md``."""

from collections import Counter
from collections.abc import Sequence

from scripts.torture.judge import Outcome

LONGEST = 140
"""Characters of what a user sees."""


def markdown(outcomes: Sequence[Outcome]) -> str:
    """A row per kind of fault: how often it was injected, how often that was survived, what a user sees most often."""
    faults = list(dict.fromkeys(outcome.fault for outcome in outcomes))
    rows = ["| fault | times injected | survived | what a user sees |", "|---|---:|---:|---|"]
    for fault in faults:
        own = [outcome for outcome in outcomes if outcome.fault == fault]
        injected = sum(outcome.injected for outcome in own)
        lost = sum(outcome.verdict == "lost" for outcome in own)
        rows.append(f"| {fault} | {injected} | {injected - lost} | {_seen(own)} |")
    total = sum(outcome.injected for outcome in outcomes)
    lost = sum(outcome.verdict == "lost" for outcome in outcomes)
    return "\n".join([*rows, f"| all | {total} | {total - lost} | |"])


def _seen(outcomes: Sequence[Outcome]) -> str:
    if all(outcome.verdict == "skipped" for outcome in outcomes):
        return f"skipped: {outcomes[0].why}"
    seen = Counter(outcome.seen for outcome in outcomes if outcome.verdict == "survived")
    text = seen.most_common(1)[0][0] if seen else ""
    if lost := [outcome for outcome in outcomes if outcome.verdict == "lost"]:
        text = f"LOST, {lost[0].why}"
    text = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    if costs := sorted(outcome.cost for outcome in outcomes if outcome.cost is not None):
        text += f" (wall time {costs[0]:+.0f} % to {costs[-1]:+.0f} %)"
    return text.replace("|", "\\|").replace("\n", " ")
