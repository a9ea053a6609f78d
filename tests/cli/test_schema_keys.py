"""What `show` prints of a data set that is not prepared: its tasks, and the keys of a schema."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

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


@pytest.mark.parametrize(
    ("words", "tasks"),
    [
        (["dataset=census"], "tasks: income, never_married"),
        (["dataset=census", "dataset.task_group=education"], "tasks: college, never_married"),
        (["dataset=aliccp", "dataset.tasks=[conversion]"], "tasks: conversion"),
    ],
)
def test_tasks_are_named(words: list[str], tasks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", *words, "dataset.source=simulated", f"run.data={tmp_path}"]) == 0
    assert f"\n{tasks}\n" in capsys.readouterr().out
