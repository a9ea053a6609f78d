"""Checks of arguments: each raises a ValueError with the value found and the values allowed.

The argument ``also`` of a check describes further allowed values, such as ``null``, for the message.
"""

from collections.abc import Collection, Iterable
from math import inf, isfinite
from typing import Any, get_args


def one_of(name: str, value: object, allowed: Any, also: str = "") -> None:
    """Reject a value that is not one of a ``Literal``, or of a collection of words."""
    words = get_args(allowed) or tuple(allowed)
    if value not in words:
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(words)}{_or(also)}")


def each_once(name: str, values: Collection[str], allowed: Iterable[str]) -> None:
    """Reject an empty list of words, duplicates, and words that are not allowed."""
    words = tuple(allowed)
    if not values or len(set(values)) < len(values) or not set(values) <= set(words):
        raise ValueError(f"{name} is {list(values)}; allowed: one or more of {', '.join(words)}, each once")


def not_empty(name: str, values: Collection[object], what: str) -> None:
    """Reject an empty list; `what` describes its entries, and why one is needed, for the message."""
    if not values:
        raise ValueError(f"{name} is empty; allowed: one or more {what}")


def at_least(name: str, value: float | None, least: float, also: str = "") -> None:
    """Reject a number below a minimum or not finite; None is accepted."""
    in_range(name, value, ge=least, also=also)


def in_range(
    name: str,
    value: float | None,
    *,
    ge: float = -inf,
    gt: float = -inf,
    le: float = inf,
    lt: float = inf,
    also: str = "",
) -> None:
    """Reject a number out of bounds (named as in pydantic) or not finite; None is accepted."""
    if value is None or (isfinite(value) and ge <= value <= le and gt < value < lt):
        return
    if -inf < ge and le < inf:
        bounds = f"{ge} to {le}"
    else:
        words = {f"{ge} or more": ge, f"above {gt}": gt, f"at most {le}": le, f"below {lt}": lt}
        bounds = " and ".join(word for word, bound in words.items() if isfinite(bound))
    finite = "" if isfinite(value) else "finite numbers, "
    raise ValueError(f"{name} is {value}; allowed: {finite}{bounds}{_or(also)}")


def _or(also: str) -> str:
    return also and f", or {also}"
