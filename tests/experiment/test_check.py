"""What a configuration cannot mean is refused before any file is read, with what there is instead."""

from pathlib import Path

import pytest

from mtlbench.cli.compose import compose
from mtlbench.experiment.check import check_config
from mtlbench.experiment.data import resolve_data
from mtlbench.experiment.errors import ConfigError

RULES = r"'criteo(_r)?' has no such rule; allowed: random_811, x4$"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["balancing=fixed"],
            r"each task \(click, conversion, in this order\), .* Set balancing\.weights=\[1,1\]",
        ),
        (["balancing=fixed", "dataset=census"], r"needs a weight for each task, and none is set\. Set"),
        (["dataset=criteo", "dataset.split_rule=x5"], rf"dataset\.split_rule=x5: {RULES}"),
        (["dataset=criteo_r", "dataset.split_rule=x5"], rf"dataset\.split_rule=x5: {RULES}"),
        (
            ["dataset=criteo", "dataset.split=x4"],
            "is 'x4', which is not a rule: .* dataset.split_rule=<one of random_811, x4>",
        ),
        (["dataset=census", "dataset.split=x4"], "'census' has a single rule, whose keys can be set"),
        (["dataset=census", "dataset.split=null"], "dataset.split is None, which is not a rule"),
    ],
)
def test_what_there_is_is_named(overrides: list[str], message: str):
    config = compose(overrides)
    with pytest.raises(ConfigError, match=message):
        check_config(config)
    if "split" in overrides[-1]:  # other commands do not check a whole configuration, but know the data
        with pytest.raises(ConfigError, match=message):
            resolve_data(config.dataset, Path("nowhere"))


@pytest.mark.parametrize("overrides", [["balancing=fixed", "profile=mpa"], ["dataset=criteo", "dataset.split_rule=x4"]])
def test_what_is_there_passes(overrides: list[str]):
    check_config(compose(overrides))
