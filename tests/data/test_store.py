"""A store that is not what its manifest says is refused, and the error says what to do."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mtlbench.data.split import by_key
from mtlbench.data.store import StoreError, open_store
from mtlbench.ingest.prepare import Provenance, prepare
from toy import Toy, write_toy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepare(
        Toy(),
        write_toy(tmp_path / "raw"),
        tmp_path / "toy" / "a",
        processes=1,
        split=partial(by_key, table="users", fraction=0.3, seed=0),
        provenance=Provenance(origin="simulated"),
    ).folder


def edit(path: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    manifest.pop("sha256", None)  # as stores of earlier versions are
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_an_intact_store_opens(folder: Path) -> None:
    store = open_store(folder)
    store.verify()
    assert store.origin == "simulated"
    assert store.schema.tables == ("users",)
    assert store.schema.time
    with pytest.raises(ValueError, match="split is 'dev'; allowed: train, valid, test"):
        store.split("dev")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=0), "store format is 0, this version reads 2"),
        (lambda m: m.pop("files"), "manifest.json is damaged: it has no entry files"),
        (lambda m: m["schema"]["tasks"].reverse(), "given 'click', which is not a task before it"),
        (lambda m: m["schema"]["fields"][0].update(role="item"), "the schema's fingerprint is"),
        (lambda m: m["files"].update({"rows/more.arrow": {"bytes": 1}}), "rows/more.arrow is missing"),
        (
            lambda m: m["files"]["rows/train.arrow"].update(bytes=1),
            r"rows/train.arrow has \d+ bytes, manifest.json says 1",
        ),
    ],
)
def test_a_manifest_that_says_otherwise(folder: Path, change: Callable[[dict], object], message: str) -> None:
    edit(folder, change)
    with pytest.raises(ValueError, match=message):
        open_store(folder)


def test_the_error_says_what_to_run(folder: Path) -> None:
    (folder / "tables" / "users.arrow").unlink()
    with pytest.raises(StoreError, match=r"users\.arrow is missing\. Remove the folder .*mtlbench prepare dataset=toy"):
        open_store(folder)


def test_a_changed_byte_is_found_by_verify(folder: Path) -> None:
    path = folder / "rows" / "train.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    store = open_store(folder)
    with pytest.raises(StoreError, match=r"train\.arrow is damaged: sha256 is .*, manifest\.json says .*prepare"):
        store.verify()


@pytest.mark.parametrize("content", ["[1]", "{}", "null", ""])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(StoreError, match=r"(json (holds|is not JSON)|format is None).*Remove the folder"):
        open_store(folder)


def test_no_store_and_no_json(folder: Path) -> None:
    (folder.parent / "b").mkdir()
    with pytest.raises(StoreError, match=r"holds no manifest\.json.*Remove the folder .*mtlbench prepare dataset=toy"):
        open_store(folder.parent / "b")
    (folder / "manifest.json").write_text('{"format": ')
    with pytest.raises(StoreError, match="is not JSON"):
        open_store(folder)
