"""Shuffle buffer: every row once, in an order that seed and epoch alone decide, read in long pieces."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from mtlbench.data.loader import Rows, order
from mtlbench.data.shuffle import BLOCK, ShuffleBuffer, shuffled
from mtlbench.schema import Batch
from synthetic import plain_schema, random_batch

SCHEMA = plain_schema()


def rows_of(count: int) -> Rows:
    batch = random_batch(SCHEMA, count, 1)
    assert batch.labels is not None
    columns = {"ids": batch.ids, "labels": batch.labels.to(torch.int8), "time": torch.arange(count) // 3}
    return Rows(schema=SCHEMA, columns=columns, tables={}, pointers={})


def naive_order(rows: int, seed: int, epoch: int, buffer: int, block: int) -> list[int]:
    """Shuffle the blocks; take as many as the buffer holds, shuffle their rows, give them out; and so on."""
    blocks = [[*range(rows)][start : start + block] for start in range(0, rows, block)]
    waiting = [blocks[at] for at in order(len(blocks), seed, epoch)]
    given: list[int] = []
    window = 0
    while waiting:
        held = [row for each in waiting[: buffer // block] for row in each]
        waiting = waiting[buffer // block :]
        given += [held[at] for at in order(len(held), seed, epoch, window)]
        window += 1
    return given


def numbers(rows: Rows, size: int, **options: int) -> list[int]:
    batches = shuffled(rows, **options)  # pyright: ignore[reportArgumentType]
    slices = [slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
    return [row for each in slices for row in batches(each).row.tolist()]


@pytest.mark.parametrize(
    ("rows", "buffer", "block", "size"),
    [
        (101, 20, 5, 16),
        (100, 20, 5, 10),
        (101, 23, 5, 7),
        (40, 5, 5, 16),
        (7, 100, 9, 3),
        (101, 1, 1, 32),
        (1, 4, 2, 1),
    ],
)
def test_order_equals_the_naive_one_and_has_every_row_once(rows: int, buffer: int, block: int, size: int):
    found = numbers(rows_of(rows), size, seed=3, epoch=2, buffer=buffer, block=block)
    assert found == naive_order(rows, 3, 2, buffer, block)
    assert sorted(found) == [*range(rows)]


def test_batches_equal_gathered_ones():
    rows = rows_of(101)
    batches = shuffled(rows, 0, 0, buffer=20, block=5)
    for start in (0, 13, 17, 39, 85):  # within a window, and across several
        batch = batches(slice(start, start + 16))
        expected = rows.gather(batch.row)
        for name in (field.name for field in fields(Batch)):
            mine, theirs = getattr(batch, name), getattr(expected, name)
            assert (mine is theirs is None) or mine.equal(theirs), name


def test_order_is_a_function_of_seed_and_epoch_and_every_window_has_its_own():
    rows = rows_of(100)
    seen = {
        tuple(numbers(rows, 10, seed=seed, epoch=epoch, buffer=20, block=5)) for seed in range(3) for epoch in range(3)
    }
    assert len(seen) == 9
    torch.manual_seed(5)
    assert tuple(numbers(rows, 10, seed=0, epoch=0, buffer=20, block=5)) in seen, (
        "the global random state plays no part"
    )
    assert len({tuple(order(50, 0, 0, window).tolist()) for window in (None, 0, 1, 2)}) == 4


def test_any_position_can_be_asked_for_first():
    """So a run resumes in the middle of an epoch, and every rank takes its slices."""
    rows = rows_of(101)
    whole = numbers(rows, 101, seed=1, epoch=0, buffer=20, block=5)
    for start in (96, 50, 0, 19):
        assert (
            shuffled(rows, 1, 0, buffer=20, block=5)(slice(start, start + 5)).row.tolist() == whole[start : start + 5]
        )


def test_without_a_buffer_all_rows_are_shuffled_as_ever():
    assert numbers(rows_of(101), 16, seed=1, epoch=4) == order(101, 1, 4).tolist()


def test_a_small_buffer_is_one_block():
    batches = shuffled(rows_of(2 * BLOCK), 0, 0, buffer=100)
    assert isinstance(batches, ShuffleBuffer)
    assert len({row // 100 for row in batches(slice(0, 100)).row.tolist()}) == 1


def test_a_window_is_read_once_and_each_block_in_one_piece(monkeypatch: pytest.MonkeyPatch):
    read: list[list[slice]] = []
    copied = Rows.copied

    def recording(self: Rows, ranges: list[slice]) -> Rows:
        read.append(ranges)
        return copied(self, ranges)

    def refused(self: Rows, index: Tensor) -> Batch:
        assert len(self) <= 20, "a row is gathered from the store itself"
        return gather(self, index)

    gather = Rows.gather
    monkeypatch.setattr(Rows, "copied", recording)
    monkeypatch.setattr(Rows, "gather", refused)
    numbers(rows_of(101), 7, seed=0, epoch=0, buffer=20, block=5)
    assert [len(ranges) for ranges in read] == [4, 4, 4, 4, 4, 1]
    pieces = [each for ranges in read for each in ranges]
    assert sorted((piece.start, piece.stop) for piece in pieces) == [(at, min(at + 5, 101)) for at in range(0, 101, 5)]
