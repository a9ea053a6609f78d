"""The keys of a schema, as `show` prints them."""

import re
from dataclasses import MISSING, fields

import pytest

from mtlbench.cli import main
from mtlbench.datasets.parquet.description import PARTS, Description


def test_every_key_of_a_schema_is_shown_with_what_it_means(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "dataset=parquet"]) == 0
    shown = capsys.readouterr().out.partition("Keys of a schema (* must be there)\n")[2]
    *blocks, _ = shown.split("\n\n")
    assert [block.partition(":")[0] for block in blocks[1:]] == list(PARTS)
    for block, kind in zip(blocks, (Description, *PARTS.values()), strict=True):
        found = re.findall(r"^  (\w+)(\*?) +(\S.*)$", block, re.MULTILINE)
        needed = {each.name: each.default is each.default_factory is MISSING for each in fields(kind)}
        assert {name: star == "*" for name, star, _ in found} == needed


def test_a_schema_that_is_missing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "dataset=parquet"]) == 0
    assert "not described yet: dataset.schema=<file.yaml>" in capsys.readouterr().out
