"""Split rules: exact shares, whole keys, the same on every machine."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from mtlbench.data.split import (
    TEST,
    TRAIN,
    UNASSIGNED,
    VALID,
    SplitInput,
    at_random,
    by_group,
    by_key,
    by_time,
    by_train_group,
    halve_test,
    hash_keys,
    splitmix64,
    stratified,
)


def rows(test: np.ndarray, keys: int = 1) -> SplitInput:
    """Rows that point at ``keys`` table rows in turn."""
    return SplitInput(
        test=test,
        pointers={"users": np.arange(len(test), dtype=np.int32) % keys},
        keys={"users": pa.array([f"key{k}" for k in range(keys)])},
    )


@pytest.mark.parametrize("count", [2, 3, 10, 1001])
def test_halves_are_exact_and_leave_training_alone(count: int) -> None:
    test = np.arange(3 * count) % 3 == 1
    result = halve_test(rows(test), seed=0)
    assert (result[~test] == TRAIN).all()
    assert ((result == VALID).sum(), (result == TEST).sum()) == (count // 2, count - count // 2)


def test_halves_are_random_and_a_function_of_the_seed() -> None:
    candidates = rows(np.ones(10_000, bool))
    one, again, other = (halve_test(candidates, seed=seed) for seed in (1, 1, 2))
    assert (one == again).all()
    assert 0.45 < (one == other).mean() < 0.55
    assert abs((one[:5000] == VALID).mean() - 0.5) < 0.03


def test_by_key_keeps_keys_whole_and_their_share() -> None:
    test = np.arange(60_000) >= 50_000
    candidates = rows(test, keys=5000)
    result = by_key(candidates, table="users", fraction=0.2, seed=3)
    assert (result[test] == TEST).all()
    by_pointer = result[~test].reshape(-1, 5000)
    assert (by_pointer == by_pointer[0]).all()
    assert abs((by_pointer[0] == VALID).mean() - 0.2) < 0.02
    assert not (by_key(candidates, table="users", fraction=0.2, seed=4) == result).all()
    with pytest.raises(ValueError, match="no dimension table 'user'; allowed: users"):
        by_key(candidates, table="user", fraction=0.2, seed=3)


def test_a_key_stays_where_it_is_when_others_come() -> None:
    few = by_key(rows(np.zeros(100, bool), keys=100), table="users", fraction=0.5, seed=0)
    many = by_key(rows(np.zeros(200, bool), keys=200), table="users", fraction=0.5, seed=0)
    assert (many[:100] == few).all()


def test_hashes_are_what_they_were() -> None:
    """Written down once: a change would silently move rows between the splits of published results."""
    assert hash_keys(pa.array(["84dceed2e3a667f8"])).tolist() == [2140091348743897038]
    assert hash_keys(pa.array([12345])).tolist() == [11670727555153614964]
    everything = SplitInput(
        test=np.zeros(10, bool),
        pointers={"users": np.arange(10, dtype=np.int32)},
        keys={"users": pa.array([str(key) for key in range(10)])},
    )
    assert by_key(everything, table="users", fraction=0.4, seed=7).tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 1, 0]
    assert halve_test(rows(np.ones(10, bool)), seed=7).tolist() == [2, 2, 1, 2, 1, 1, 2, 1, 1, 2]


def test_mix_is_splitmix64() -> None:
    """The published test vector of splitmix64 started at 0: first outputs of its stream."""
    assert splitmix64(np.arange(3, dtype=np.uint64), seed=0).tolist() == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


def with_columns(**columns: np.ndarray) -> SplitInput:
    count = len(next(iter(columns.values())))
    reads = {name: (lambda values=values: values) for name, values in columns.items()}
    return SplitInput(test=np.zeros(count, bool), pointers={}, keys={}, columns=reads)


def test_by_time_takes_the_last_days_whatever_their_numbers() -> None:
    days = np.array([829, 1111, 829, 1112, 1030, 1111])
    assert by_time(with_columns(time=days), valid=1, test=1).tolist() == [TRAIN, VALID, TRAIN, TEST, TRAIN, VALID]
    assert by_time(with_columns(time=days), valid=1, test=2).tolist() == [TRAIN, TEST, TRAIN, TEST, VALID, TEST]
    six = by_time(with_columns(time=np.arange(6)), valid=2, test=2)
    assert six.tolist() == [TRAIN, TRAIN, VALID, VALID, TEST, TEST]
    with pytest.raises(ValueError, match=r"valid=2 and dataset.split.test=2 of 4 distinct times"):
        by_time(with_columns(time=days), valid=2, test=2)
    with pytest.raises(ValueError, match=r"valid=0 .*each must be 1 or more"):
        by_time(with_columns(time=days), valid=0, test=1)


def test_by_time_skips_the_last_days_as_if_the_log_had_ended_before_them() -> None:
    days = np.array([829, 1111, 829, 1112, 1030, 1111])
    split = by_time(with_columns(time=days), valid=1, test=1, skip=1)
    assert split.tolist() == [TRAIN, TEST, TRAIN, UNASSIGNED, VALID, TEST]
    with pytest.raises(ValueError, match=r"valid=1 and dataset.split.test=1 and dataset.split.skip=2 of 4 distinct"):
        by_time(with_columns(time=days), valid=1, test=1, skip=2)
    with pytest.raises(ValueError, match=r"dataset.split.skip.* -1"):
        by_time(with_columns(time=days), valid=1, test=1, skip=-1)


def test_a_group_stands_in_one_split_wherever_its_rows_are() -> None:
    groups = np.arange(60_000) % 5000 - 2500
    result = by_group(with_columns(group=groups), valid=0.1, test=0.3, seed=1).reshape(-1, 5000)
    assert (result == result[0]).all()
    assert abs((result[0] == VALID).mean() - 0.1) < 0.02
    assert abs((result[0] == TEST).mean() - 0.3) < 0.03


def test_groups_of_the_training_part_are_divided_and_the_test_part_is_left_alone() -> None:
    group = np.arange(60_000) % 5000
    test = np.arange(60_000) >= 50_000
    candidates = SplitInput(test=test, pointers={}, keys={}, columns={"group": lambda: group})
    result = by_train_group(candidates, valid=0.2, seed=3)
    assert (result[test] == TEST).all()
    by_row = result[~test].reshape(-1, 5000)
    assert (by_row == by_row[0]).all()
    assert set(by_row[0].tolist()) == {TRAIN, VALID}
    assert abs((by_row[0] == VALID).mean() - 0.2) < 0.02
    assert not (by_train_group(candidates, valid=0.2, seed=4) == result).all()
    with pytest.raises(ValueError, match=r"dataset\.split\.valid is 1\.0; allowed: above 0 and below 1"):
        by_train_group(candidates, valid=1.0, seed=0)


def test_at_random_keeps_shares_and_moves_no_row_when_more_come() -> None:
    few, many = (at_random(with_columns(time=np.zeros(n)), valid=0.1, test=0.1, seed=5) for n in (50_000, 60_000))
    assert (many[:50_000] == few).all()
    assert [round((few == split).mean(), 2) for split in (TRAIN, VALID, TEST)] == [0.8, 0.1, 0.1]
    for valid, test in ((0, 0.1), (0.1, 0), (0.5, 0.5)):
        with pytest.raises(ValueError, match="allowed: above 0, and less than 1 together"):
            at_random(with_columns(time=np.zeros(9)), valid=valid, test=test, seed=0)


@pytest.mark.parametrize(
    "rule",
    [
        partial(by_time, valid=1, test=1),
        partial(by_group, valid=0.1, test=0.1, seed=0),
        partial(at_random, valid=0.1, test=0.1, seed=0),
        partial(stratified, label="click", folds=3, seed=0),
    ],
)
def test_what_was_set_aside_for_test_is_never_trained_on(rule: Callable[[SplitInput], np.ndarray]) -> None:
    columns = {name: lambda: np.arange(90) % 9 % 2 for name in ("time", "group", "click")}
    candidates = SplitInput(test=np.arange(90) > 80, pointers={}, keys={}, columns=columns)
    with pytest.raises(ValueError, match="divides all rows, but 9 of them are a test part"):
        rule(candidates)


def test_stratified_folds_have_equal_shares_of_positives() -> None:
    label = (np.arange(1000) % 4 == 0).astype(np.int8)
    result = stratified(with_columns(click=label), label="click", folds=10, seed=2018)
    for split, rows_of_split, positives in ((TRAIN, 800, 200), (VALID, 100, 25), (TEST, 100, 25)):
        assert ((result == split).sum(), label[result == split].sum()) == (rows_of_split, positives)
    with pytest.raises(ValueError, match="the rarer value of 'click' occurs in 2 rows"):
        stratified(with_columns(click=np.array([0] * 50 + [1] * 2, np.int8)), label="click", folds=10, seed=0)


def test_a_rule_that_asks_for_what_rows_do_not_have_is_told_what_they_have() -> None:
    with pytest.raises(ValueError, match="needs column 'time', which the rows do not have; allowed: group"):
        by_time(with_columns(group=np.zeros(3)), valid=1, test=1)
