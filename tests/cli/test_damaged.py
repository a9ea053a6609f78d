"""Damaged small files of runs and tables: one message that names the file, and nothing else is lost."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mtlbench.cli import main
from mtlbench.tracking.connect import default_uri
from mtlbench.tracking.folder import CONFIG, FACTS, RESULT, SENT, STATUS
from mtlbench.tracking.journal import JOURNAL
from mtlbench.tracking.tracker import sync
from runs import RESULT as MADE_UP
from runs import ended_run

DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(b"\x00\xff\xfe{" * 20),
    "object": lambda path: path.write_text("{}\n"),
    "list": lambda path: path.write_text("[1]\n"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "missing": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),  # no permission would mean nothing to root
}
FILES = (FACTS, STATUS, CONFIG, RESULT, JOURNAL, SENT)
HARMLESS = {(CONFIG, "object"), (RESULT, "missing"), (SENT, "missing"), (SENT, "object"), (CONFIG, "truncated")}
"""A configuration may be empty or shorter, a result may not be there yet, and nothing need have been sent."""


def damaged_runs(runs: Path) -> dict[str, str]:
    """A sound run and one for each damage of each file; the damaged file by the name of its run."""
    ended_run(runs, "sound")
    assert sync(runs, default_uri(runs), "mtlbench").sent == ("sound",)
    damaged: dict[str, str] = {}
    for file in FILES:
        for damage, do in DAMAGES.items():
            folder = shutil.copytree(runs / "sound", runs / f"{file.partition('.')[0]}-{damage}")
            do(folder / file)
            if (file, damage) not in HARMLESS:
                damaged[folder.name] = file
    return damaged


def test_each_damaged_file_is_named_by_every_command_and_stops_no_other_run(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = damaged_runs(runs)
    capsys.readouterr()

    assert main(["list", "runs", f"run.folder={runs}"]) == 1
    out, err = capsys.readouterr()
    listed = {line.split()[0]: line for line in out.splitlines()[2:]}
    assert len(listed) == 1 + len(FILES) * len(DAMAGES)
    assert "income 0.7000" in listed["sound"]
    for name, file in damaged.items():
        if file not in (JOURNAL, SENT):  # which a list does not read
            assert listed[name].split()[1:] == ["damaged"]
            assert f"damaged: {runs / name / file}" in err

    assert main(["sync", f"run.folder={runs}"]) == 1
    out, err = capsys.readouterr()
    for name, file in damaged.items():
        assert f"  {name}: {runs / name / file}" in err
    assert f"{len(damaged)} failed" in out

    for name, file in damaged.items():
        if file == SENT:
            continue
        assert main(["show", name, f"run.folder={runs}"]) == 2
        out, err = capsys.readouterr()
        assert err.startswith(f"mtlbench: {runs / name / file}"), err
        assert err.count("\n") == 1
        assert out == ""
    assert main(["show", "sound", f"run.folder={runs}"]) == 0


def test_an_edited_metric_is_refused_by_name(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ended_run(runs, "1a")
    path = folder / RESULT
    path.write_text(path.read_text().replace("0.7", "0.99"))
    (folder / "best.pt").write_bytes(b"")
    refused = f"{path} is damaged: it was changed after the run wrote it"
    assert main(["list", "runs", f"run.folder={runs}"]) == 1
    assert refused in capsys.readouterr().err
    assert main(["sync", f"run.folder={runs}"]) == 1
    assert refused in capsys.readouterr().err
    for command in ("show", "evaluate", "export"):
        assert main([command, "1a", f"run.folder={runs}"]) == 2
        err = capsys.readouterr().err
        assert refused in err
        assert "repeat the training command, which measures again from the checkpoint" in err
    shutil.copy(path, path.with_suffix(".edited"))
    written = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(written.items()))).replace("0.99", "0.7"))
    assert main(["show", "1a", f"run.folder={runs}"]) == 0, "the order of keys and white space count for nothing"


def test_a_result_of_an_earlier_version_has_no_hash_and_is_read(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ended_run(runs, "1a")
    (folder / RESULT).write_text(json.dumps(asdict(replace(MADE_UP, identity="1a"))))
    assert main(["list", "runs", f"run.folder={runs}"]) == 0
    assert "income 0.7000" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "missing"])
def test_a_damaged_table_is_left_out_of_the_report_and_named(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "census_mmoe.json").write_text('{"format": 2, "kind": "table"}')
    DAMAGES[damage](tables / "census_mmoe.json")
    page = tmp_path / "report.html"
    assert main(["report", "--from", str(tables), "--to", str(page)]) == 2
    err = capsys.readouterr().err
    assert "census_mmoe.json" in err
    assert "Traceback" not in err
    assert not page.exists()
