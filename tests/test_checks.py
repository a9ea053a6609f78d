"""Checks of arguments at their bounds, and what they say."""

import math
import re
from typing import Any, Literal

import pytest

from mtlbench.checks import at_least, each_once, in_range, not_empty, one_of


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        (0, {"ge": 0}),
        (1, {"ge": 0, "le": 1}),
        (0.5, {"gt": 0, "lt": 1}),
        (1, {"gt": 0, "le": 1}),
        (0, {"ge": 0, "lt": 1}),
        (2**70, {"ge": 0}),
        (None, {"gt": 0}),
    ],
)
def test_numbers_within_bounds_pass(value: float | None, bounds: dict[str, float]):
    in_range("x", value, **bounds)


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (-1, {"ge": 0}, "x is -1; allowed: 0 or more"),
        (0, {"gt": 0}, "x is 0; allowed: above 0"),
        (2, {"ge": 0, "le": 1}, "x is 2; allowed: 0 to 1"),
        (1.0, {"ge": 0, "lt": 1}, "x is 1.0; allowed: 0 or more and below 1"),
        (0, {"gt": 0, "lt": 1}, "x is 0; allowed: above 0 and below 1"),
        (1.5, {"gt": 0, "le": 1}, "x is 1.5; allowed: above 0 and at most 1"),
        (math.nan, {"ge": 0}, "x is nan; allowed: finite numbers, 0 or more"),
        (math.inf, {"gt": 0}, "x is inf; allowed: finite numbers, above 0"),
        (0, {"ge": 1, "also": "null for no limit"}, "x is 0; allowed: 1 or more, or null for no limit"),
    ],
)
def test_numbers_out_of_bounds(value: float, bounds: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        in_range("x", value, **bounds)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: at_least("x", 1, 2), "x is 1; allowed: 2 or more"),
        (lambda: one_of("x", "c", Literal["a", "b"]), "x is 'c'; allowed: a, b"),
        (lambda: one_of("x", "c", ("a", "b"), also="none"), "x is 'c'; allowed: a, b, or none"),
        (lambda: one_of("x", ["a"], {"a": 1}), "x is ['a']; allowed: a"),
        (lambda: each_once("x", [], ("a", "b")), "x is []; allowed: one or more of a, b, each once"),
        (lambda: each_once("x", ("a", "a"), ("a", "b")), "x is ['a', 'a']; allowed: one or more of a, b, each once"),
        (lambda: each_once("x", ["c"], ("a", "b")), "x is ['c']; allowed: one or more of a, b, each once"),
        (
            lambda: not_empty("x", [], "widths"),
            "x is empty; allowed: one or more widths",
        ),
    ],
)
def test_words_and_lists(check: Any, message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check()


def test_allowed_words_and_lists_pass():
    one_of("x", "a", Literal["a", "b"])
    each_once("x", ["b", "a"], ("a", "b", "c"))
    not_empty("x", (0,), "numbers")
