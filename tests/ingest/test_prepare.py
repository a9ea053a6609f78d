"""Raw files become a store: nothing lost, nothing learnt from other rows than training rows, nothing left half-done."""

import errno
import json
import math
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
import torch

from mtlbench.data.layout import ROWS
from mtlbench.data.loader import Rows
from mtlbench.data.matrices import MatrixFile
from mtlbench.data.split import SplitInput, by_key
from mtlbench.data.store import SPLITS, Store, StoreError
from mtlbench.ingest import encode, manifest, parse
from mtlbench.ingest.manifest import accounts
from mtlbench.ingest.prepare import Provenance, prepare
from mtlbench.ingest.protocol import RawError, RawFile, Rewritten
from mtlbench.schema import PADDING
from toy import EMBEDDING, HISTORY, TAGS, Toy, group_of, read_lines, source_of, write_toy

SIMULATED = Provenance(origin="simulated", identity={"toy": 1})
RULE = partial(by_key, table="users", fraction=0.3, seed=5)


def build(raw: Path, store: Path, **changed: object) -> Store:
    options = {"split": RULE, "provenance": SIMULATED, "min_count": 2, "processes": 1}
    return prepare(Toy(), raw, store, **{**options, **changed})  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def store(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build(raw, tmp_path_factory.mktemp("store") / "toy" / "a")


class Reference:
    """The toy joined and encoded row by row in plain Python, from the text of the files."""

    def __init__(self, raw: Path) -> None:
        self.users = {
            part: {line[0]: line for line in read_lines(raw / f"users.{part}.txt")} for part in ("train", "test")
        }
        self.rows = {part: read_lines(raw / f"rows.{part}.txt") for part in ("train", "test")}

    def splits(self, valid: set[str]) -> dict[str, list[tuple[list[str], list[str]]]]:
        """(row, its user) of every split, given the keys of the validation rows."""
        joined = {part: [(row, self.users[part][row[0]]) for row in self.rows[part]] for part in self.rows}
        return {
            "train": [pair for pair in joined["train"] if pair[0][0] not in valid],
            "valid": [pair for pair in joined["train"] if pair[0][0] in valid],
            "test": joined["test"],
        }

    @staticmethod
    def history(user: list[str]) -> list[tuple[int, float]]:
        """The heaviest entries, the earlier one among equals, in their own order."""
        pairs = [(int(item), float(weight)) for item, weight in (entry.split(":") for entry in user[2].split())]
        best = sorted(range(len(pairs)), key=lambda at: (-pairs[at][1], at))[:HISTORY]
        return [pairs[at] for at in sorted(best)]

    @staticmethod
    def tags(row: list[str]) -> list[str]:
        return row[4].split()[:TAGS]


@pytest.fixture(scope="module")
def reference(raw: Path, store: Store) -> dict[str, list[tuple[list[str], list[str]]]]:
    """Splits by hand; which keys are for validation is read off the store, by the number of their rows."""
    keys = read_lines(raw / "users.train.txt")
    valid = {keys[row][0] for row in store.split("valid").pointers["users"].tolist()}
    assert 0 < len(valid) < len(keys) * 0.6
    return Reference(raw).splits(valid)


def decoded(store: Store, rows: Rows, field: str) -> list[list[object]]:
    """Values behind the ids of a field, row by row; padding left out, '?' for unknown."""
    batch = rows.gather(torch.arange(len(rows)))
    spec = next(f for f in store.schema.fields if f.name == field)
    ids = batch.ids[:, list(store.schema.slots[field])].numpy()
    vocabulary = store.vocabulary(spec.vocabulary_name)
    index = np.where(ids == PADDING, 0, ids - store.schema.offsets[field])
    values = np.array(vocabulary.decode(index.ravel()).to_pylist(), dtype=object).reshape(ids.shape)
    return [
        ["?" if position == 0 else value for value, position, here in zip(*triple, strict=True) if here]
        for triple in zip(values, index, ids != PADDING, strict=True)
    ]


def known_values(vocabulary_counts: Counter[object], least: int = 2) -> set[object]:
    return {value for value, count in vocabulary_counts.items() if count >= least}


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_comes_back_through_the_vocabularies(store: Store, reference: dict, split: str) -> None:
    train, wanted = reference["train"], reference[split]
    rows = store.split(split)
    assert len(rows) == len(wanted)

    items = Counter(int(row[3]) if row[3] else None for row, _ in train)
    items.update(item for _, user in train for item, _ in Reference.history(user))
    tags = Counter(tag for row, _ in train for tag in Reference.tags(row))
    colours, cities = Counter(row[5] or None for row, _ in train), Counter(user[1] or None for _, user in train)

    def through(counts: Counter, values: list[object]) -> list[object]:
        return [value if value in known_values(counts) else "?" for value in values]

    assert decoded(store, rows, "item") == [through(items, [int(row[3]) if row[3] else None]) for row, _ in wanted]
    assert decoded(store, rows, "colour") == [through(colours, [row[5] or None]) for row, _ in wanted]
    assert decoded(store, rows, "city") == [through(cities, [user[1] or None]) for _, user in wanted]
    assert decoded(store, rows, "tags") == [through(tags, list(Reference.tags(row))) for row, _ in wanted]
    assert decoded(store, rows, "history") == [
        through(items, [item for item, _ in Reference.history(user)]) for _, user in wanted
    ]


@pytest.mark.parametrize("split", SPLITS)
def test_labels_weights_numbers_and_times(store: Store, reference: dict, split: str) -> None:
    train, wanted = reference["train"], reference[split]
    batch = store.split(split).gather(torch.arange(len(wanted)))
    assert batch.labels is not None and batch.weights is not None and batch.time is not None  # noqa: PT018
    assert batch.labels.tolist() == [[float(row[1]), float(row[2])] for row, _ in wanted]
    assert batch.time.tolist() == [int(row[7]) for row, _ in wanted]
    padded = [[weight for _, weight in Reference.history(user)] + [0.0] * HISTORY for _, user in wanted]
    assert batch.weights.tolist() == [weights[:HISTORY] for weights in padded]

    def standardised(values: list[float], value: float | None) -> float:
        mean = math.fsum(values) / len(values)
        return (
            0.0
            if value is None
            else (value - mean) / math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
        )

    def component(user: list[str], at: int) -> float | None:
        return float(user[3].split()[at]) if user[3] else None

    prices = [float(row[6]) for row, _ in train if row[6]]
    expected = [[standardised(prices, float(row[6]) if row[6] else None)] for row, _ in wanted]
    for at in range(EMBEDDING):
        known = [value for _, user in train if (value := component(user, at)) is not None]
        for values, (_, user) in zip(expected, wanted, strict=True):
            values.append(standardised(known, component(user, at)))
    torch.testing.assert_close(batch.numbers, torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_order_of_ids_is_by_count_then_value(store: Store, reference: dict) -> None:
    counts = Counter(tag for row, _ in reference["train"] for tag in Reference.tags(row))
    vocabulary = store.vocabulary("tags")
    assert list(zip(vocabulary.values.to_pylist(), vocabulary.counts.tolist(), strict=True)) == sorted(
        ((v, c) for v, c in counts.items() if c >= 2), key=lambda pair: (-pair[1], pair[0])
    )


def test_no_key_straddles_training_and_validation(store: Store) -> None:
    train, valid = (set(store.split(name).pointers["users"].tolist()) for name in ("train", "valid"))
    assert train
    assert valid
    assert not train & valid


def test_manifest_counts(store: Store, reference: dict) -> None:
    manifest = store.manifest
    for split, rows in reference.items():
        assert manifest["splits"][split] == {
            "rows": len(rows),
            "positives": {
                "click": sum(row[1] == "1" for row, _ in rows),
                "conversion": sum(row[2] == "1" for row, _ in rows),
            },
            "together": {"click and conversion": sum(row[1] == row[2] == "1" for row, _ in rows)},
        }
    assert manifest["raw"]["rows.train.txt"]["lines"] == 300
    assert manifest["fields"]["price"]["missing"]["test"] == sum(not row[6] for row, _ in reference["test"])
    cut = sum(max(len(row[4].split()) - TAGS, 0) for rows in reference.values() for row, _ in rows)
    assert manifest["fields"]["tags"]["cut"] == cut > 0
    unknown = [value for row in decoded(store, store.split("test"), "tags") for value in row]
    assert manifest["fields"]["tags"]["unknown"]["test"] == unknown.count("?") / len(unknown)
    assert manifest["split"] == {"rule": "mtlbench.data.split.by_key", "table": "users", "fraction": 0.3, "seed": 5}
    assert manifest["origin"] == "simulated"


def test_the_manifest_has_the_checksums_of_the_files(raw: Path, tmp_path: Path) -> None:
    store = build(raw, tmp_path / "a", processes=2)
    assert {name: facts["sha256"] for name, facts in store.manifest["files"].items()} == {
        name: sha256(content).hexdigest() for name, content in files_of(store.folder).items()
    }


def test_a_store_is_not_read_again_by_the_process_that_made_it(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files were read for the manifest; one that has changed since is read."""
    read: list[str] = []
    monkeypatch.setattr("mtlbench.data.store.checksum", lambda path: read.append(path.name))
    store = build(raw, tmp_path / "a").verify()
    assert not read
    os.utime(store.folder / "rows" / "test.arrow", (1, 1))
    with pytest.raises(StoreError, match=r"test\.arrow is damaged"):
        store.verify()
    assert read == ["test.arrow"]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.mark.parametrize(
    ("processes", "shard_bytes", "piece_rows"), [(2, 1 << 25, 1 << 18), (1, 700, 5), (2, 1500, 29)]
)
def test_processes_and_shards_change_nothing(
    raw: Path,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
    shard_bytes: int,
    piece_rows: int,
) -> None:
    monkeypatch.setattr(parse, "SHARD_BYTES", shard_bytes)
    monkeypatch.setattr(parse, "CHUNK_ROWS", piece_rows)
    monkeypatch.setattr(encode, "MERGE_ABOVE", 3)
    other = build(raw, tmp_path / "b", processes=processes)
    assert files_of(other.folder) == files_of(store.folder)


def test_only_training_rows_are_learnt_from(raw: Path, store: Store, reference: dict, tmp_path: Path) -> None:
    """All rows outside training, and all users that no training row points at, are replaced by strange ones."""
    changed = tmp_path / "raw"
    changed.mkdir()
    training = {row[0] for row, _ in reference["train"]}
    for name in ("rows", "users"):
        for part in ("train", "test"):
            lines = (raw / f"{name}.{part}.txt").read_text().splitlines()
            strange = [
                "\t".join(
                    [
                        line.split("\t")[0],
                        *(
                            ["1", "1", "777", "new new", "pink", "1e6", "3"]
                            if name == "rows"
                            else ["Z", "777:5", "90 90"]
                        ),
                    ]
                )
                if part == "test" or line.split("\t")[0] not in training
                else line
                for line in lines
            ]
            (changed / f"{name}.{part}.txt").write_text("\n".join(strange) + "\n")
    other = build(changed, tmp_path / "store", one_class="note")
    assert other.schema == store.schema
    for name in ("things", "tags", "colour", "city"):
        assert other.vocabulary(name).values.equals(store.vocabulary(name).values)
        assert other.vocabulary(name).counts.tolist() == store.vocabulary(name).counts.tolist()
    for name in ("price", "embedding"):
        assert {k: other.manifest["fields"][name][k] for k in ("mean", "deviation")} == {
            k: store.manifest["fields"][name][k] for k in ("mean", "deviation")
        }
    assert files_of(other.folder)["rows/train.arrow"] == files_of(store.folder)["rows/train.arrow"]
    assert files_of(other.folder)["rows/test.arrow"] != files_of(store.folder)["rows/test.arrow"]


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Raw files with a bad line, a dropped line, a row without a user, and a user who comes twice."""
    raw = write_toy(tmp_path / "raw")
    rows = (raw / "rows.train.txt").read_text().splitlines()
    rows[250] = "!what\tis this"
    rows[120] = "-" + rows[120]
    rows[30] = "\t".join(["nobody", *rows[30].split("\t")[1:]])
    (raw / "rows.train.txt").write_text("\n".join(rows) + "\n")
    users = (raw / "users.test.txt").read_text().splitlines()
    (raw / "users.test.txt").write_text("\n".join([*users, users[3]]) + "\n")
    return raw


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bad_line_stops_everything_and_leaves_nothing(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(parse, "SHARD_BYTES", 2000)
    with pytest.raises(
        RawError, match=r"rows\.train\.txt, line 251: marked as bad.*'!what.tis this'.*set dataset\.on_error=quarantine"
    ):
        build(damaged, tmp_path / "stores" / "a", processes=processes)
    assert not list((tmp_path / "stores").iterdir())


@pytest.mark.parametrize("shard_bytes", [1 << 25, 900])
def test_bad_lines_are_set_aside_and_counted(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_bytes: int
) -> None:
    monkeypatch.setattr(parse, "SHARD_BYTES", shard_bytes)
    store = build(damaged, tmp_path / "a", on_error="quarantine")
    entries = [json.loads(line) for line in (store.folder / "quarantine.jsonl").read_text().splitlines()]
    assert {(entry["file"], entry["line"], entry["reason"], entry["text"]) for entry in entries} == {
        ("rows.train.txt", 251, "marked as bad", "!what\tis this"),
        (
            "rows.train.txt",
            31,
            "its key is not in table 'users'",
            (damaged / "rows.train.txt").read_text().splitlines()[30],
        ),
        (
            "users.test.txt",
            41,
            "an earlier line has the same key",
            (damaged / "users.test.txt").read_text().splitlines()[3],
        ),
    }
    raw = store.manifest["raw"]
    assert (raw["rows.train.txt"]["rejected"], raw["users.test.txt"]["rejected"]) == (2, 1)
    assert raw["rows.train.txt"]["dropped"] == {"policy": 1}
    rows = {name: facts["rows"] for name, facts in store.manifest["splits"].items()}
    assert rows["train"] + rows["valid"] == 300 - 3
    assert rows["test"] == 300
    days = [
        int(line.split("\t")[7])
        for at, line in enumerate((damaged / "rows.train.txt").read_text().splitlines())
        if at not in (250, 120, 30)
    ]
    assert sorted(torch.cat([store.split(name).columns["time"] for name in ("train", "valid")]).tolist()) == sorted(
        days
    )


def test_truth_follows_its_lines(damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """True probabilities stand beside all lines, refused and dropped ones included, in several shards."""
    monkeypatch.setattr(parse, "SHARD_BYTES", 900)
    days = {}
    for part in ("train", "test"):
        lines = [line.split("\t") for line in (damaged / f"rows.{part}.txt").read_text().splitlines()]
        days[part] = np.array([[at, float(line[7]) if len(line) == 8 else -1] for at, line in enumerate(lines)])
        np.save(damaged / f"rows.{part}.txt.truth.npy", days[part].astype(np.float32))
    store = build(damaged, tmp_path / "a", on_error="quarantine")
    columns = {name: store.split(name).columns for name in SPLITS}
    for name in SPLITS:
        assert columns[name]["truth"][:, 1].tolist() == columns[name]["time"].tolist()
    assert columns["test"]["truth"][:, 0].tolist() == list(range(300))
    kept = [*columns["train"]["truth"][:, 0].tolist(), *columns["valid"]["truth"][:, 0].tolist()]
    assert sorted(kept) == [line for line in range(300) if line not in (250, 120, 30)]


def test_a_row_finds_its_user_in_its_own_part(raw: Path, store: Store, reference: dict) -> None:
    both = {line[0] for line in read_lines(raw / "users.train.txt")} & {
        line[0] for line in read_lines(raw / "users.test.txt")
    }
    assert both, "the toy must have users of both parts, or this proves nothing"
    pointers = store.split("test").pointers["users"].tolist()
    assert min(pointers) >= 40, "rows of the test part point behind the 40 users of the training part"
    test_users = [line[0] for line in read_lines(raw / "users.test.txt")]
    assert [test_users[pointer - 40] for pointer in pointers] == [row[0] for row, _ in reference["test"]]


def interrupt(candidates: SplitInput) -> np.ndarray:
    raise KeyboardInterrupt


def test_an_interruption_leaves_nothing(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(raw, tmp_path / "a", split=interrupt, processes=2)
    assert not list(tmp_path.iterdir())
    assert len(build(raw, tmp_path / "a").split("train"))


def test_a_full_disk_leaves_nothing(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MatrixFile, "write", refuse)
    with pytest.raises(OSError, match="No space left"):
        build(raw, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_preparation_left_is_replaced(raw: Path, tmp_path: Path, store: Store) -> None:
    (tmp_path / ".a.part" / "rows").mkdir(parents=True)
    (tmp_path / ".a.part" / "rows" / "train.arrow").write_text("half")
    assert files_of(build(raw, tmp_path / "a").folder) == files_of(store.folder)
    assert not (tmp_path / ".a.part").exists()


def test_a_second_call_opens_and_does_not_work(raw: Path, tmp_path: Path) -> None:
    first = build(raw, tmp_path / "a")
    (tmp_path / "a" / "manifest.json").touch()
    again = build(tmp_path / "there is no such folder", tmp_path / "a", split=interrupt)
    assert again.manifest == first.manifest


def wait_and_build(raw: Path, store: Path, started: Barrier) -> None:
    started.wait()
    build(raw, store)


def test_two_processes_do_the_work_once(raw: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Barrier(2)
    others = [context.Process(target=wait_and_build, args=(raw, tmp_path / "a", started)) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_missing_and_empty_files_are_named_together(raw: Path, tmp_path: Path) -> None:
    partial_raw = tmp_path / "raw"
    partial_raw.mkdir()
    (partial_raw / "rows.train.txt").write_bytes((raw / "rows.train.txt").read_bytes())
    (partial_raw / "users.train.txt").write_bytes((raw / "users.train.txt").read_bytes())
    (partial_raw / "rows.test.txt").touch()
    with pytest.raises(RawError, match=r"missing or empty in .*: rows\.test\.txt, users\.test\.txt\. Ask the test\."):
        build(partial_raw, tmp_path / "a")


def test_a_folder_that_is_no_store_is_not_overwritten(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match=r"is no prepared data set\. Remove the folder .*mtlbench prepare dataset=toy"):
        build(raw, tmp_path / "a")
    assert (tmp_path / "a" / "thesis.txt").exists()


class Log(Toy):
    """The toy, of which only one jumbled log is published: every line begins with the file that it belongs to."""

    name = "log"

    @property
    def files(self) -> tuple[RawFile, ...]:
        return (RawFile(name="log.txt", table=ROWS, part="train", published_rows=683),)

    def arrange(
        self,
        sources: Mapping[str, Path],
        folder: Path,
        refuse: Callable[[Path, int, str, bytes], None],
        processes: int,
    ) -> Rewritten:
        arranged = {file.name: (file, folder / file.name) for file in Toy().files}
        texts: dict[str, list[str]] = {name: [] for name in arranged}
        lines = sources["log.txt"].read_text().splitlines()
        for number, line in enumerate(lines):
            name, _, rest = line.partition("|")
            if name in texts:
                texts[name].append(rest)
            elif name != "-":
                refuse(sources["log.txt"], number, "no such file", line.encode())
        for name, text in texts.items():
            (folder / name).write_text("\n".join(text) + "\n")
        rows = len(texts["rows.train.txt"])
        np.save(folder / "rows.train.txt.truth.npy", np.full((rows, 2), 0.25, np.float32))
        np.save(folder / "rows.test.txt.truth.npy", np.full((len(texts["rows.test.txt"]), 2), 0.75, np.float32))
        dropped = sum(line.startswith("-|") for line in lines)
        return Rewritten(
            files=tuple(arranged.values()), lines={"log.txt": len(lines)}, dropped={"log.txt": {"other": dropped}}
        )


def write_log(raw: Path, folder: Path) -> Path:
    """All lines of the toy's files, shuffled between files, and three more."""
    texts = {file.name: (raw / file.name).read_text().splitlines() for file in Toy().files}
    log = ["-|noise", "what|is this", "-|more noise"]
    for at in range(max(map(len, texts.values()))):
        log += [f"{name}|{lines[at]}" for name, lines in texts.items() if at < len(lines)]
    folder.mkdir()
    (folder / "log.txt").write_text("\n".join(log) + "\n")
    return folder


def test_a_log_is_arranged_into_rows_first(raw: Path, store: Store, tmp_path: Path) -> None:
    options = {"split": RULE, "provenance": Provenance(origin="real"), "min_count": 2, "processes": 1}
    log = write_log(raw, tmp_path / "log")
    with pytest.raises(RawError, match=r"log.txt, line 2: no such file. The line reads 'what\|is this'"):
        prepare(Log(), log, tmp_path / "a", **options)  # pyright: ignore[reportArgumentType]
    made = prepare(Log(), log, tmp_path / "a", **options, on_error="quarantine")  # pyright: ignore[reportArgumentType]
    assert accounts(made.manifest) == [
        "log.txt: 683 lines read, 1 rejected, 2 dropped (other: 2), 0 values cut, matches the published counts"
    ]
    for split in SPLITS:
        wanted, rows = store.split(split), made.split(split)
        for name, column in wanted.columns.items():
            assert torch.equal(rows.columns[name], column)
        assert (rows.columns["truth"] == (0.75 if split == "test" else 0.25)).all()


def all_test(candidates: SplitInput) -> np.ndarray:
    return np.full(len(candidates.test), 2, np.int8)


def none_test(candidates: SplitInput) -> np.ndarray:
    return (np.arange(len(candidates.test)) % 2).astype(np.int8)


def too_many(candidates: SplitInput) -> np.ndarray:
    return np.full(len(candidates.test), 3, np.int8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": all_test}, "split 'train' is empty"),
        ({"split": too_many}, r"too_many.*must return int8 of 0, 1, 2"),
        ({"split": partial(by_key, table="items", fraction=0.1, seed=0)}, "no dimension table 'items'; allowed: users"),
        (
            {"split": partial(by_key, table="users", fraction=1.5, seed=0)},
            "dataset.split.fraction is 1.5; allowed: above 0",
        ),
        (
            {"split": partial(by_key, table="users", fraction=0, seed=0)},
            "dataset.split.fraction is 0; allowed: above 0",
        ),
        (
            {"split": partial(by_key, table="users", fraction=1e-9, seed=0)},
            r"split 'valid' is empty: .*by_key assigned it 0 of 600 rows\. Change .*dataset\.split\.fraction=1e-09",
        ),
        ({"split": none_test}, "split 'test' is empty: .*Change dataset.split, or prepare more rows"),
        ({"min_count": 0}, "dataset.min_count is 0; allowed: 1 or more"),
        ({"on_error": "ignore"}, "on_error is 'ignore'; allowed: fail, quarantine"),
    ],
)
def test_wrong_rules_are_refused(raw: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(raw, tmp_path / "a", **options)


def first_row_valid(candidates: SplitInput) -> np.ndarray:
    result = np.where(candidates.test, 2, 0).astype(np.int8)
    result[0] = 1
    return result


def test_a_split_of_one_class_is_noted(tmp_path: Path) -> None:
    raw = write_toy(tmp_path / "raw")
    path = raw / "rows.train.txt"
    first, *others = path.read_text().splitlines()
    cells = first.split("\t")
    path.write_text("\n".join(["\t".join([cells[0], "0", "0", *cells[3:]]), *others]) + "\n")
    with pytest.raises(ValueError, match=r"positive for task 'click': its AUC is undefined. .*dataset.one_class=note"):
        build(raw, tmp_path / "b", split=first_row_valid)
    store = build(raw, tmp_path / "a", split=first_row_valid, one_class="note")
    assert store.manifest["notes"] == [
        f"split 'valid' has 1 rows, 0 of them positive for task '{task}': its AUC is undefined"
        for task in ("click", "conversion")
    ]


def test_rows_take_their_group_from_the_table_and_sources_count_from_0(store: Store, reference: dict) -> None:
    for split, wanted in reference.items():
        batch = store.split(split).gather(torch.arange(len(wanted)))
        assert batch.group is not None
        assert batch.source is not None
        assert batch.group.tolist() == [group_of(row[0]) for row, _ in wanted]
        assert batch.source.tolist() == [[-3, 7, 70].index(source_of(row[4])) for row, _ in wanted]
    assert store.schema.source == 3
    assert store.manifest["sources"] == [-3, 7, 70]
    groups = {split: {row[0] for row, _ in wanted} for split, wanted in reference.items()}
    assert store.manifest["overlaps"]["group"] == {
        "distinct": {split: len(groups[split]) for split in SPLITS},
        "shared": {
            "train and valid": 0,
            "train and test": len(groups["train"] & groups["test"]),
            "valid and test": len(groups["valid"] & groups["test"]),
        },
    }


def by_value(candidates: SplitInput, *, name: str) -> np.ndarray:
    """The values of a column in turn to training, validation and test."""
    return (np.unique(candidates.column(name), return_inverse=True)[1] % 3).astype(np.int8)


@pytest.mark.parametrize("name", ["group", "time"])
def test_splits_that_share_what_must_keep_apart_are_refused(raw: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"splits 'train' and '\w+' share \d+ values of '{name}', such as -?\d+,"):
        build(raw, tmp_path / "a", disjoint=[name])
    with pytest.raises(ValueError, match=r"dataset.disjoint names page, which the rows do not have; allowed: .*group"):
        build(raw, tmp_path / "a", disjoint=["page"])
    kept = build(raw, tmp_path / "b", split=partial(by_value, name=name), disjoint=[name])
    assert set(kept.manifest["overlaps"][name]["shared"].values()) == {0}


@pytest.mark.parametrize("place", ["rows", "users"])
def test_an_id_that_settles_a_label_is_refused_by_name(tmp_path: Path, place: str) -> None:
    """Thirty values, each of which always comes with the same label, in the rows or in a table."""
    raw = write_toy(tmp_path / "raw", rows=1500)
    rows = [line.split("\t") for line in (raw / "rows.train.txt").read_text().splitlines()]
    for line in rows:
        user = int(line[0].removeprefix("user"))
        if place == "users":
            line[1] = line[2] = str(user % 2)
        else:
            line[3] = str(2 * (user % 15) + int(line[1]))
    (raw / "rows.train.txt").write_text("\n".join("\t".join(line) for line in rows) + "\n")
    if place == "users":
        users = [line.split("\t") for line in (raw / "users.train.txt").read_text().splitlines()]
        for line in users:
            line[1] = "ABCDE"[int(line[0].removeprefix("user")) % 2]
        (raw / "users.train.txt").write_text("\n".join("\t".join(line) for line in users) + "\n")
    field = {"rows": "item", "users": "city"}[place]
    with pytest.raises(ValueError, match=f"field '{field}' settles label 'clicked' of task 'click'"):
        build(raw, tmp_path / "a")


@pytest.mark.parametrize(("column", "field", "verb"), [(5, "colour", "settles"), (6, "price", "equals")])
def test_an_input_that_copies_a_label_is_refused_by_name(tmp_path: Path, column: int, field: str, verb: str) -> None:
    raw = write_toy(tmp_path / "raw", rows=800)
    lines = [line.split("\t") for line in (raw / "rows.train.txt").read_text().splitlines()]
    for line in lines:
        line[column] = {"1": "0", "0": "1"}[line[1]]
    (raw / "rows.train.txt").write_text("\n".join("\t".join(line) for line in lines) + "\n")
    with pytest.raises(ValueError, match=f"field '{field}' {verb} label 'clicked' of task 'click'"):
        build(raw, tmp_path / "a")


def test_raw_checksums_are_compared_with_published_ones(raw: Path, tmp_path: Path) -> None:
    real = Provenance(origin="real", raw={"rows.train.txt": "ab"})
    store = build(raw, tmp_path / "a", provenance=real)
    assert store.manifest["raw"]["rows.train.txt"]["sha256"] == "ab"
    assert store.manifest["raw"]["rows.train.txt"]["published"] is None


def test_accounts_say_what_became_of_every_line(damaged: Path, tmp_path: Path) -> None:
    store = build(damaged, tmp_path / "a", on_error="quarantine")
    lines = dict(zip(store.manifest["raw"], accounts(store.manifest), strict=True))
    cut = sum(max(len(row[4].split()) - TAGS, 0) for row in read_lines(damaged / "rows.train.txt"))
    assert lines["rows.train.txt"] == (
        f"rows.train.txt: 300 lines read, 2 rejected, 1 dropped (policy: 1), {cut} values cut (tags: {cut}), simulated"
    )
    assert lines["users.test.txt"].startswith("users.test.txt: 41 lines read, 1 rejected, 0 dropped, ")
    fields = store.manifest["fields"]
    assert fields["tags"]["cut"] == sum(facts["cut"].get("tags", 0) for facts in store.manifest["raw"].values())


@pytest.mark.parametrize(
    ("published", "checksum", "ending"),
    [
        (None, None, "no published counts"),
        (1234, None, "matches the published counts"),
        (1234, "ab", "matches the published counts and checksum"),
        (None, "ab", "matches the published checksum"),
        (1235, "cd", "differs: 1234 lines, published are 1235; sha256 is ab, published is cd"),
    ],
)
def test_accounts_compare_with_what_is_published(
    tmp_path: Path, published: int | None, checksum: str | None, ending: str
) -> None:
    (tmp_path / "a").touch()
    file = RawFile(name="a", table=ROWS, part="train", published_rows=published, sha256=checksum)
    spill, real = parse.Spill(lines=Counter({tmp_path / "a": 1234})), Provenance(origin="real", raw={"a": "ab"})
    described = manifest.raw([(file, tmp_path / "a")], tmp_path, Rewritten(files=(), lines={}), spill, Counter(), real)
    assert accounts({"origin": "real", "raw": described}) == [
        f"a: 1,234 lines read, 0 rejected, 0 dropped, 0 values cut, {ending}"
    ]
    del described["a"]["cut"]  # as in a store of an earlier version
    assert accounts({"origin": "real", "raw": described}) == [f"a: 1,234 lines read, 0 rejected, 0 dropped, {ending}"]


def test_signals_are_left_as_they_were(raw: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    build(raw, tmp_path / "a")
    assert signal.getsignal(signal.SIGINT) is before
