"""Stored tables come back as they were; anything else is refused with its file and what to do."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mtlbench.cli import main
from mtlbench.report.figure import FigureResult
from mtlbench.report.result import TableResult
from mtlbench.report.stored import find_stored, read_stored, stored_text
from report.drawings import drawing
from report.tables import example


@pytest.mark.parametrize("result", [example(), drawing()], ids=["table", "figure"])
def test_a_result_comes_back_equal(tmp_path: Path, result: TableResult | FigureResult) -> None:
    path = tmp_path / "made_up.json"
    path.write_text(stored_text(result), encoding="utf-8")
    assert read_stored(path) == result


def test_a_table_of_the_format_before_is_read(tmp_path: Path) -> None:
    """Its columns have a direction of their own, which is now that of the metric."""
    content = json.loads(stored_text(example()))
    columns = [{**column, "higher_is_better": column["metric"] == "auc"} for column in content["columns"]]
    (tmp_path / "old.json").write_text(json.dumps({**content, "format": 2, "columns": columns}))
    assert read_stored(tmp_path / "old.json") == example()


def test_a_table_whose_claims_do_not_say_what_would_decide_is_read(tmp_path: Path) -> None:
    """Of format 3, before claims said what they could have found."""
    content = json.loads(stored_text(example()))
    for claim in content["claims"]:
        del claim["detectable"], claim["deciding"]
    (tmp_path / "old.json").write_text(json.dumps({**content, "format": 3}))
    assert read_stored(tmp_path / "old.json") == example()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a table or figure of format 4"),
        ('{"format": 1}', "found: 1"),
        ('{"format": 2, "kind": "table", "name": "x"}', "title: "),
        ('{"format": 2, "name": "x"}', "its kind is None; allowed: table, figure"),
        (stored_text(drawing()).replace('"Figure 1"', "7"), "not a valid figure, place: "),
        (stored_text(drawing()).replace("0.605", "NaN"), "nan cannot be drawn"),
        (stored_text(drawing()).replace("2.125,", ""), "2 values, 3 columns"),
        (stored_text(example()).replace('"not run"', '"splendid"'), "verdict: "),
        (stored_text(example()).replace("0.7034", '"much"'), "rows.0.cells.0.measured.mean: "),
    ],
)
def test_what_is_no_table_is_refused_with_the_place(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.json: ") as caught:
        read_stored(path)
    assert reason in str(caught.value)
    assert "mtlbench reproduce t --to" in str(caught.value)


def test_tables_are_found_by_name_in_the_order_asked_for(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.json").write_text(stored_text(replace(example(), name=name)))
    assert [result.name for result in find_stored(tmp_path)[0]] == ["a", "b", "c"]
    assert [result.name for result in find_stored(tmp_path, ["c", "a"])[0]] == ["c", "a"]
    with pytest.raises(ValueError, match="no table or figure d; allowed: a, b, c"):
        find_stored(tmp_path, ["a", "d"])
    (tmp_path / "b.json").write_text("{cut off")
    found, problems = find_stored(tmp_path)
    assert [result.name for result in found] == ["a", "c"]
    assert "b.json: not valid JSON" in problems[0]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.json").write_text("[]")
    with pytest.raises(ValueError, match=r"none of its \*\.json can be read as a table or figure\n.*a\.json"):
        find_stored(tmp_path / "bad")
    with pytest.raises(ValueError, match=r"b\.json: not valid JSON"):
        find_stored(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match=r"holds no tables or figures.*mtlbench reproduce"):
        find_stored(tmp_path / "nowhere")


def test_a_papers_tables_stand_before_its_figures(tmp_path: Path) -> None:
    for name in ("b_table1", "a_table2", "a_table1"):
        (tmp_path / f"{name}.json").write_text(stored_text(replace(example(), name=name)))
    for name in ("b_fig1", "a_fig1"):
        (tmp_path / f"{name}.json").write_text(stored_text(replace(drawing(), name=name)))
    names = [result.name for result in find_stored(tmp_path)[0]]
    assert names == ["a_table1", "a_table2", "a_fig1", "b_table1", "b_fig1"]


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "made_up.json").write_text(stored_text(example()))
    target = tmp_path / "deep" / "page.html"
    (tmp_path / "made_fig1.json").write_text(stored_text(drawing()))
    assert main(["report", "--from", str(tmp_path), "--to", str(target)]) == 0
    assert "1 table and 1 figure: " in capsys.readouterr().err
    assert "embedding width" in target.read_text(encoding="utf-8")
    assert main(["report", "made_up", "--from", str(tmp_path), "--to", str(target)]) == 0
    assert "Made up &amp;" in target.read_text(encoding="utf-8")
    assert "1 table: " in capsys.readouterr().err
    assert json.loads((tmp_path / "made_up.json").read_text())["format"] == 4


def test_reproduce_stores_its_tables_and_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here without its runs, which other tests make: a table that nothing was run of is a table too."""
    monkeypatch.setattr("mtlbench.reproduce.execute.execute", lambda runs, processes: {})
    places = [f"run.data={tmp_path}", f"run.folder={tmp_path / 'runs'}", "tracker=none"]
    words = ["census_mmoe", "--scale", "0.01", "--rows", "MMoE,Single-Task", "--to", str(tmp_path / "tables"), *places]
    assert main(["reproduce", *words]) == 0
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert names == {*(f"census_mmoe.{ending}" for ending in ("md", "tex", "csv", "json")), "report.html"}
    [result], _ = find_stored(tmp_path / "tables")
    assert {cell.verdict for row in result.rows for cell in row.cells} == {"not run"}
    assert result.marks[0].startswith("SCALED")
    assert "0.9410" in (tmp_path / "tables" / "report.html").read_text(encoding="utf-8")
