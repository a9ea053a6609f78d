"""Leak detection, at its boundaries: how many rows, how many positives, which values."""

from pathlib import Path

import numpy as np
import pytest

from mtlbench.data import matrices
from mtlbench.data.layout import POINTER
from mtlbench.data.matrices import MatrixColumn
from mtlbench.data.vocabulary import UNKNOWN
from mtlbench.ingest import leaks
from mtlbench.ingest.leaks import MAX_ROWS, MIN_POSITIVES, MIN_ROWS_PER_VALUE
from mtlbench.ingest.workers import Workers
from mtlbench.schema import Field, Schema, Task

SCHEMA = Schema(
    fields=(
        Field(name="item", cardinality=300),
        Field(name="tags", width=2, cardinality=300),
        Field(name="city", table="users", cardinality=300),
        Field(name="price", kind="number"),
        Field(name="age", kind="number", table="users"),
    ),
    tasks=(Task(name="click", label="clicked"), Task(name="like", label="liked")),
)


def write(
    folder: Path,
    click: np.ndarray,
    *,
    item: np.ndarray | None = None,
    price: np.ndarray | None = None,
    city: np.ndarray | None = None,
    age: np.ndarray | None = None,
    like: np.ndarray | None = None,
) -> Path:
    """A store of `SCHEMA` with one user per row; what is not given is noise or constant. Ids are within their field."""
    rows, random = len(click), np.random.default_rng(0)
    noise = random.integers(1, 200, rows)
    like = random.integers(0, 2, rows) if like is None else like
    columns = {
        "ids": np.stack(
            [SCHEMA.offsets["item"] + (noise if item is None else item), *[np.zeros(rows, int)] * 2], axis=1
        ),
        "numbers": (random.random(rows) if price is None else price)[:, None],
        "labels": np.stack([click, like], axis=1),
        POINTER + "users": np.arange(rows)[::-1],
    }
    users = {
        "ids": SCHEMA.offsets["city"] + (noise if city is None else city)[::-1, None],
        "numbers": (random.random(rows) if age is None else age)[::-1, None],
    }
    kinds = {"ids": np.int32, "numbers": np.float32, "labels": np.int8, POINTER + "users": np.int32}
    for path, matrix in ((folder / "rows" / "train.arrow", columns), (folder / "tables" / "users.arrow", users)):
        path.parent.mkdir(exist_ok=True)
        widths = {
            name: MatrixColumn(kinds[name], values.shape[1] if values.ndim > 1 else 0)
            for name, values in matrix.items()
        }
        file = matrices.create(path, rows, widths)
        for name, values in matrix.items():
            file.write(name, 0, values.astype(kinds[name]))
    return folder


def refuse_leaks(store: Path) -> None:
    leaks.refuse_leaks(SCHEMA, store, Workers(1))


def labels(positives: int, negatives: int) -> np.ndarray:
    return np.repeat(np.array([1, 0]), [positives, negatives])


def spread(label: np.ndarray, per_value: int, first: int = 1) -> np.ndarray:
    """Ids of which every one has one label, each on so many rows."""
    found = np.zeros(len(label), int)
    for value in (0, 1):
        where = np.flatnonzero(label == value)
        found[where] = np.arange(len(where)) // per_value
        found[where] += first + (100 if value else 0)
    return found


@pytest.mark.parametrize("column", ["item", "city"])
def test_an_id_of_which_every_value_has_one_label(tmp_path: Path, column: str) -> None:
    click = labels(200, 200)
    with pytest.raises(
        ValueError, match=f"field '{column}' settles label 'clicked' of task 'click' on 400 training rows"
    ):
        refuse_leaks(write(tmp_path, click, **{column: spread(click, 20)}))


@pytest.mark.parametrize("few", ["positives", "negatives"])
def test_an_id_that_settles_a_label_of_too_few_rows_is_no_leak(tmp_path: Path, few: str) -> None:
    count = MIN_POSITIVES - 1
    click = labels(count, 300) if few == "positives" else labels(300, count)
    refuse_leaks(write(tmp_path, click, item=np.where(click, 2, 1)))


def test_every_task_is_looked_at(tmp_path: Path) -> None:
    like = labels(150, 250)
    click = np.resize([0, 1], 400)
    with pytest.raises(ValueError, match="field 'item' settles label 'liked' of task 'like'"):
        refuse_leaks(write(tmp_path, click, like=like, item=spread(like, 25)))


@pytest.mark.parametrize("column", ["price", "age"])
def test_a_number_that_equals_a_label(tmp_path: Path, column: str) -> None:
    click = labels(200, 200)
    with pytest.raises(ValueError, match=f"field '{column}' equals label 'clicked'"):
        refuse_leaks(write(tmp_path, click, **{column: click * 3.0 - 1}))


@pytest.mark.parametrize("row", [0, 199, 100, 200, 399, 300])
def test_a_number_with_one_other_value_is_no_leak(tmp_path: Path, row: int) -> None:
    click = labels(200, 200)
    price = click * 3.0 - 1
    price[row] = 7
    refuse_leaks(write(tmp_path, click, price=price))


def test_a_constant_number_is_no_leak(tmp_path: Path) -> None:
    refuse_leaks(write(tmp_path, labels(200, 200), price=np.full(400, 2.0)))


@pytest.mark.parametrize(("positives", "refused"), [(MIN_POSITIVES, True), (MIN_POSITIVES - 1, False)])
@pytest.mark.parametrize("swap", [False, True])
def test_the_rarer_label_must_stand_in_enough_rows(tmp_path: Path, positives: int, refused: bool, swap: bool) -> None:
    click = labels(positives, 300)
    click = 1 - click if swap else click
    write(tmp_path, click, price=click.astype(float))
    if refused:
        with pytest.raises(ValueError, match="field 'price' equals"):
            refuse_leaks(tmp_path)
    else:
        refuse_leaks(tmp_path)


@pytest.mark.parametrize(("per_value", "refused"), [(MIN_ROWS_PER_VALUE, True), (MIN_ROWS_PER_VALUE - 1, False)])
def test_a_value_must_stand_in_enough_rows(tmp_path: Path, per_value: int, refused: bool) -> None:
    click = labels(20 * per_value, 20 * per_value)
    write(tmp_path, click, item=spread(click, per_value))
    if refused:
        with pytest.raises(ValueError, match="field 'item' settles"):
            refuse_leaks(tmp_path)
    else:
        refuse_leaks(tmp_path)


def test_rows_of_rare_values_do_not_count_as_evidence(tmp_path: Path) -> None:
    """100 positives, 99 of them on values that stand in enough rows."""
    click = labels(MIN_POSITIVES, 300)
    item = spread(click, 11)
    item[MIN_POSITIVES - 1] = 250
    refuse_leaks(write(tmp_path, click, item=item))


def test_the_unknown_value_does_not_count(tmp_path: Path) -> None:
    """Unknown rows have both labels, which excuses nothing; and rows that are unknown alone prove nothing."""
    click = np.concatenate([labels(200, 200), np.resize([0, 1], 60)])
    item = np.concatenate([spread(click[:400], 20), np.full(60, UNKNOWN)])
    with pytest.raises(ValueError, match="field 'item' settles label 'clicked'"):
        refuse_leaks(write(tmp_path, click, item=item))
    click = labels(200, 200)
    item = np.where(click, UNKNOWN, spread(click, 20))
    refuse_leaks(write(tmp_path, click, item=item))


@pytest.mark.parametrize("value", [1, 110])
def test_a_value_with_both_labels_is_no_leak(tmp_path: Path, value: int) -> None:
    click = labels(200, 200)
    item = spread(click, 10)
    row = np.flatnonzero(item == value)[0] if value in item else 0
    item[row] = 101 if value == 1 else 1
    refuse_leaks(write(tmp_path, click, item=item))


@pytest.mark.parametrize("exception", [False, True])
def test_a_field_that_settles_the_first_rows_is_looked_at_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exception: bool
) -> None:
    monkeypatch.setattr("mtlbench.ingest.leaks.FIRST_ROWS", 300)
    click = np.random.default_rng(0).permutation(labels(200, 200))
    item = spread(click, 20)
    if exception:
        click[399] = 1 - click[399]
        refuse_leaks(write(tmp_path, click, item=item))
        return
    with pytest.raises(ValueError, match="field 'item' settles label 'clicked' of task 'click' on 400 training rows"):
        refuse_leaks(write(tmp_path, click, item=item))


def test_only_the_first_rows_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_ROWS == 1 << 20
    monkeypatch.setattr("mtlbench.ingest.leaks.MAX_ROWS", 400)
    click = np.concatenate([labels(200, 200), [0]])
    price = click * 1.0
    price[400] = 9
    with pytest.raises(ValueError, match="on 400 training rows"):
        refuse_leaks(write(tmp_path, click, price=price))
