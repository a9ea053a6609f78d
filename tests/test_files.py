"""Atomic writes: whole or not at all, and nothing left beside."""

from pathlib import Path

import pytest

from mtlbench.files import atomic, write_beside


def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path):
    target = tmp_path / "a"
    target.write_text("old")
    with atomic(target) as beside:
        beside.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_appears_when_it_is_whole(tmp_path: Path):
    (tmp_path / ".a.part").mkdir()
    (tmp_path / ".a.part" / "left").write_text("by a killed process")
    with atomic(tmp_path / "a") as beside:
        beside.mkdir()
        (beside / "x").write_text("1")
        assert not (tmp_path / "a").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["a", "a/x"]


@pytest.mark.parametrize("folder", [True, False])
def test_an_error_leaves_what_stood_there(tmp_path: Path, folder: bool):
    target = tmp_path / "a"
    target.write_text("old")

    def write() -> None:
        with atomic(target) as beside:
            if folder:
                beside.mkdir()
            (beside / "x" if folder else beside).write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*/a'"):
        write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_content_is_written_beside_under_a_name_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two processes that write one file do not write into one temporary file."""
    names: list[str] = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, to: (names.append(path.name), replace(path, to))[1])
    for process in (1, 2):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        write_beside(tmp_path / "a", b"content")
    assert len(set(names)) == 2
    assert (tmp_path / "a").read_bytes() == b"content"


def test_two_processes_that_make_one_folder_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The first is kept whole, and the second is told."""
    target = tmp_path / "a"

    def make() -> None:
        with atomic(target, alone=False) as late:
            late.mkdir()
            (late / "late").touch()
            monkeypatch.setattr("os.getpid", lambda: 1)
            with atomic(target, alone=False) as first:
                first.mkdir()
                (first / "first").touch()

    with pytest.raises(FileExistsError, match="another process created this folder") as caught:
        make()
    assert caught.value.filename == str(target)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["a", "first"]


def test_a_file_where_a_folder_stands_is_told_by_its_own_name(tmp_path: Path):
    (tmp_path / "page").mkdir()
    with (
        pytest.raises(IsADirectoryError, match=rf"there is a folder of this name; name a file: '{tmp_path}/page'"),
        atomic(tmp_path / "page") as beside,
    ):
        beside.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
