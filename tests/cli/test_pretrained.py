"""Pretrained vectors of a field, by the user's commands: what is read, moves, is recovered, is refused."""

import json
import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

import mtlbench
from mtlbench.cli import main
from mtlbench.cli.compose import compose
from mtlbench.data.pretrained import VectorFile, read_vectors
from mtlbench.data.vocabulary import Vocabulary
from mtlbench.experiment.run import train as run
from mtlbench.nn.embedding import FieldEmbedding
from mtlbench.train.interrupt import Interrupted

ITEMS, WIDTH = 300, 4
SCHEMA = {
    "rows": {"train": "rows.parquet"},
    "fields": [
        {"name": "user"},
        {"name": "item"},
        {"name": "seen", "width": 3, "vocabulary": "item", "role": "history", "target": "item"},
    ],
    "tasks": [{"name": "click", "label": "clicked"}],
}
SMALL = [
    "model=dnn", "profile.embedding_width=4", "trainer.epochs=2", "trainer.patience=null", "trainer.batch_size=128",
    "trainer.checkpoint_minutes=1000", "run.threads=1", "tracker=none",
]  # fmt: skip

Train = Callable[..., tuple[int, str, Path]]


def planted() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows whose click depends on the vector of the item alone, each item in few of them; and the vectors."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(ITEMS, WIDTH)).astype(np.float32)
    item = np.tile(np.arange(ITEMS), 3)
    clicked = (vectors[item] @ [2.0, -2.0, 1.0, 0.0] + 0.2 * random.normal(size=len(item)) > 0).astype(int)
    rows = pd.DataFrame(
        {
            "user": random.integers(0, 9, len(item)),
            "item": item,
            "seen": [list(random.integers(0, ITEMS, 2)) for _ in item],
            "clicked": clicked,
        }
    )
    return rows, pd.DataFrame({"key": np.arange(ITEMS), "vector": list(vectors)})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    (folder / "mine").mkdir()
    rows, vectors = planted()
    rows.to_parquet(folder / "mine" / "rows.parquet")
    vectors[vectors["key"] % 10 != 0].to_parquet(folder / "vectors.parquet")  # a tenth of the items has none
    (folder / "mine.yaml").write_text(yaml.safe_dump(SCHEMA))
    return folder


@pytest.fixture
def train(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Train:
    """``mtlbench train``: exit status, all messages, the folder of the run."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets it
    runs = tmp_path / "runs"

    def command(*words: str) -> tuple[int, str, Path]:
        before = set(runs.glob("*/"))
        caplog.clear()
        with warnings.catch_warnings(), caplog.at_level(logging.INFO, "mtlbench"):
            warnings.simplefilter("default", UserWarning)
            places = [f"dataset.raw={data}/mine", f"dataset.schema={data}/mine.yaml", f"run.data={data}/data"]
            status = main(["train", "dataset=parquet", *places, f"run.folder={runs}", *SMALL, *words])
        new = set(runs.glob("*/")) - before
        return status, caplog.text, new.pop() if new else runs

    return command


def vectors_of(data: Path, frozen: bool = True, **more: Any) -> str:
    entry = {"file": str(data / "vectors.parquet"), "frozen": frozen, **more}
    return f"pretrained={{item: {json.dumps(entry).replace(chr(34), '')}}}"


def table(run: Path) -> dict[int, torch.Tensor]:
    """The embedding of every item in the selected weights, as the model reads it."""
    block = next(block for block in mtlbench.load(run).model.modules() if isinstance(block, FieldEmbedding))
    (store,) = Path(mtlbench.load(run).configuration["run"]["data"]).glob("store/*/*/vocabulary")
    vocabulary = Vocabulary.load(store / "item.parquet")
    first = 1 + Vocabulary.load(store / "user.parquet").cardinality  # behind padding and the users
    return {
        item: block.embedding[first + place + 1].detach()
        for place, item in enumerate(vocabulary.values.to_pylist())
        if item is not None
    }


def distances(run: Path, data: Path) -> tuple[list[float], list[float]]:
    """How far embeddings are from the file's vectors, and of items without one: their norms."""
    found, file = table(run), pd.read_parquet(data / "vectors.parquet").set_index("key")["vector"]
    apart = [float((found[k] - torch.tensor(file[k])).abs().max()) for k in found if k in file.index]
    return apart, [float(found[k].abs().max()) for k in found if k not in file.index]


SPEEDS = {
    "adam": [],
    "deferred": ["optimizer.deferred_rows=1"],
    "decay": ["optimizer.weight_decay=0.1"],
    "adamw deferred": ["optimizer=adamw", "optimizer.deferred_rows=1"],
    "lazy": ["optimizer=lazy_adam"],
    "bf16": ["optimizer=lazy_adam", "optimizer.table_precision=bf16"],
    "sgd": ["optimizer=momentum", "optimizer.lr=0.1"],
}


@pytest.mark.parametrize("words", SPEEDS.values(), ids=SPEEDS.keys())
def test_frozen_vectors_never_move_and_others_do(train: Train, data: Path, words: list[str]):
    status, text, run = train(vectors_of(data), *words)
    assert status == 0, text
    apart, others = distances(run, data)
    assert len(apart) > 200
    assert max(apart) == 0
    assert len(others) > 20
    assert len(set(others)) > 1
    assert re.search(r"pretrained\.item: vectors of 270 of 300 values, frozen; the other 30 start as usual", text)


@pytest.mark.parametrize("words", [[], ["optimizer.deferred_rows=1"], ["optimizer=lazy_adam"]])
def test_vectors_that_are_trained_further_start_from_the_file(train: Train, data: Path, words: list[str]):
    status, text, run = train(vectors_of(data, frozen=False), *words, "optimizer.lr=1e-6")
    assert status == 0, text
    assert 0 < max(distances(run, data)[0]) < 1e-4
    status, text, run = train(vectors_of(data, frozen=False), *words)
    assert status == 0, text
    assert max(distances(run, data)[0]) > 1e-3
    status, text, run = train(vectors_of(data, frozen=False), "optimizer.freeze=[embedding]")
    assert status == 0, text
    assert max(distances(run, data)[0]) == 0


def test_wider_vectors_are_projected(train: Train, data: Path):
    status, text, run = train(vectors_of(data), "profile.embedding_width=3")
    assert status == 0, text
    assert "projected from 4 to 3 numbers" in text
    file = pd.read_parquet(data / "vectors.parquet").set_index("key")["vector"]
    found = {item: vector for item, vector in table(run).items() if item in file.index}
    given = torch.tensor(np.stack([file[item] for item in found]))
    got = torch.stack([*found.values()])
    fit = torch.linalg.lstsq(given, got).solution
    assert (given @ fit - got).abs().max() < 1e-5  # of one matrix


def test_planted_vectors_are_worth_more_than_ids(train: Train, data: Path):
    longer = ["trainer.epochs=10", "optimizer.lr=0.01"]
    areas = [
        json.loads((train(*words, *longer)[2] / "result.json").read_text())["metrics"]["test/click/auc"]
        for words in ([], [vectors_of(data)])
    ]
    assert areas[1] > max(0.85, areas[0] + 0.05), areas


def test_evaluate_export_and_score_need_no_file(
    train: Train, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    copy = tmp_path / "copy.parquet"
    copy.write_bytes((data / "vectors.parquet").read_bytes())
    words = [f"pretrained={{item: {{file: {copy}, frozen: true}}}}", "trainer.checkpoint=task"]
    status, text, run = train(*words)
    assert status == 0, text
    identity = run.name
    status, text, run = train(*words[:1], "trainer.checkpoint=task")  # finished
    copy.unlink()
    place = f"run.folder={tmp_path}/runs"
    assert main(["evaluate", identity, place]) == 0  # compared with its own result
    assert main(["export", identity, "--to", str(tmp_path / "exported"), "--no-onnx", place]) == 0
    assert str(tmp_path) not in "".join(p.read_text() for p in (tmp_path / "exported").rglob("config.yaml"))


def test_a_run_is_known_by_the_content_of_the_file(train: Train, data: Path, tmp_path: Path):
    names = set()
    rows = pd.read_parquet(data / "vectors.parquet")
    for folder, frame in (("a", rows), ("b", rows), ("c", rows.assign(key=rows["key"][::-1].to_numpy()))):
        (tmp_path / folder).mkdir()
        frame.to_parquet(tmp_path / folder / "v.parquet")
        status, text, run = train(f"pretrained={{item: {{file: {tmp_path}/{folder}/v.parquet}}}}", "trainer.epochs=1")
        assert status == 0, text
        names.add(run.name if run.name != "runs" else "finished before")
    assert len(names) == 3
    assert "finished before" in names


def keys_and_vectors(change: Callable[[pd.DataFrame], object]) -> Callable[[], pa.Table]:
    def made() -> pa.Table:
        frame = planted()[1]
        changed = change(frame)
        return changed if isinstance(changed, pa.Table) else pa.Table.from_pandas(frame if changed is None else changed)

    return made


def with_vector(row: int, vector: list[float] | None) -> Callable[[pd.DataFrame], object]:
    def change(frame: pd.DataFrame) -> None:
        frame.at[row, "vector"] = vector

    return change


BAD: dict[str, tuple[Callable[[pd.DataFrame], object], str]] = {
    "no key column": (
        lambda f: f.rename(columns={"key": "id"}),
        r"it has no column 'key'; it has id, vector\. Name the column with key=<column>",
    ),
    "no vector column": (lambda f: f[["key"]], r"it has no column 'vector'; it has key"),
    "double keys": (
        lambda f: f.assign(key=f["key"].where(f["key"] != 7, 8)),
        r"column 'key' has 1 keys more than once, among them 8",
    ),
    "missing keys": (
        lambda f: f.assign(key=f["key"].astype("Int64").mask(f["key"] == 7)),
        r"column 'key' has 1 rows without a key",
    ),
    "text keys": (
        lambda f: f.assign(key=f["key"].astype(str)),
        r"column 'key' holds .*string, but the values of .* integers",
    ),
    "ragged": (
        with_vector(5, [1.0]),
        r"column 'vector' needs vectors of one length; found 2 lengths \(row 5 has 1, row 0 has 4\)",
    ),
    "no vectors": (with_vector(5, None), r"column 'vector' has 1 rows without a vector"),
    "infinite": (
        with_vector(5, [1.0, 2.0, np.inf, 0.0]),
        r"column 'vector' has 1 vectors with numbers that are missing or not finite in float32, among them those of 5",
    ),
    "numbers": (lambda f: f.assign(vector=1.0), r"column 'vector' holds double; expected lists of numbers"),
    "empty": (
        lambda f: pa.table({"key": pa.array([], pa.int64()), "vector": pa.array([], pa.list_(pa.float32()))}),
        r"column 'vector' needs vectors of one length; found 0 lengths \(no rows\)",
    ),
    "other keys": (
        lambda f: f.assign(key=f["key"] + 1000),
        r"none of its 300 keys is a value of the field 'item' in training rows; the file has 1000, 1001, 1002",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_a_file_that_cannot_be_used_is_refused(
    train: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[pd.DataFrame], object],
    message: str,
):
    pq.write_table(keys_and_vectors(change)(), tmp_path / "bad.parquet")
    status, _, run = train(f"pretrained={{item: {{file: {tmp_path}/bad.parquet}}}}")
    text = " ".join(capsys.readouterr().err.split())
    assert status == 2, text
    assert re.search(rf"pretrained\.item: \S*bad\.parquet: {message}", text), text
    assert not [*run.glob("*/")]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("pretrained={items: {file: FILE}}", "pretrained.items: no id field 'items'; allowed: user, item"),
        (
            "pretrained={item: {file: FILE}, seen: {file: FILE}}",
            "'seen' and 'item' share their values; give vectors for one",
        ),
        ("pretrained={item: {file: nowhere.parquet}}", "pretrained.item.file="),
        ("pretrained={item: {path: FILE}}", "pretrained.item.path: VectorFile has no such argument"),
        ("pretrained={item: {frozen: true}}", "pretrained.item: VectorFile needs file"),
        ("pretrained={item: {file: FILE, frozen: 1}}", "pretrained.item.frozen: 1 is not of type bool"),
        ("pretrained={item: FILE}", "expected a mapping"),
        ("pretrained=FILE", "expected files by field"),
        ("pretrained={item: {file: mine.yaml}}", "not valid Parquet"),
    ],
)
def test_a_key_that_cannot_be_meant_is_refused(
    train: Train,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    word: str,
    message: str,
):
    monkeypatch.chdir(data)
    status, _, run = train(word.replace("FILE", "vectors.parquet"))
    text = " ".join(capsys.readouterr().err.split())
    assert status == 2, text
    assert message in text, text
    assert not [*run.glob("*/")]


def test_a_run_that_was_interrupted_goes_on_to_the_same_weights(data: Path, tmp_path: Path):
    states = []
    for name, stops in (("whole", False), ("stopped", True)):
        words = [
            "dataset=parquet", f"dataset.raw={data}/mine", f"dataset.schema={data}/mine.yaml", f"run.data={data}/data",
            f"run.folder={tmp_path}/{name}", *SMALL, vectors_of(data, frozen=False), "profile.embedding_width=3",
        ]  # fmt: skip

        def stop(folder: Path) -> None:
            raise Interrupted("once")

        if stops:
            with pytest.raises(Interrupted):
                run(compose(words), after_evaluation=stop)
        outcome = run(compose(words))
        states.append(torch.load(outcome.folder / "last.pt", weights_only=True)["model"])
    assert any("pretrained" in name for name in states[0])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("keys", "kind", "values"),
    [
        ([True, False], pa.bool_(), [0, 1, 7]),
        ([7, 0], pa.uint64(), [0, 1, 7]),
        (["a", "Z\u00fcrich"], pa.string_view(), ["Z\u00fcrich", "a", "b"]),
        (["a", "Z\u00fcrich"], pa.large_string(), ["Z\u00fcrich", "a", "b"]),
        (["a", "b"], pa.dictionary(pa.int8(), pa.string()), ["a", "b"]),
    ],
)
def test_keys_are_of_every_type_that_ids_of_a_training_file_may_have(
    tmp_path: Path, keys: list[Any], kind: pa.DataType, values: list[Any]
) -> None:
    table = pa.table({"key": pa.array(keys).cast(kind), "vector": [[1.0], [2.0]]})
    pq.write_table(table, tmp_path / "v.parquet")
    vocabulary = Vocabulary(pa.array(values), np.ones(len(values), np.int64))
    found = read_vectors(VectorFile(file=str(tmp_path / "v.parquet")), "f", vocabulary)
    assert found.index.tolist() == [values.index(key) + 1 for key in keys]
    assert found.values.tolist() == [[1.0], [2.0]]
