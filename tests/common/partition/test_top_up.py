import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.partition.top_up import top_up


def sizes_after(sizes, min_partition_size, seed=0):
    owners = np.random.default_rng(9).permutation(np.repeat(np.arange(len(sizes)), sizes))
    after = top_up(owners, len(sizes), min_partition_size, np.random.default_rng(seed))
    return owners, after, np.bincount(after, minlength=len(sizes))


@pytest.mark.parametrize(
    ("sizes", "min_partition_size", "expected"),
    [
        ([10, 7, 1, 0], 3, [6, 6, 3, 3]),
        (
            [10, 7, 1, 1],
            3,
            [7, 6, 3, 3],
        ),  # both have 7 when the last one is given: the second gives
        ([2, 9, 2], 2, [2, 9, 2]),
        ([0, 12, 0], 4, [4, 4, 4]),
        ([5, 5, 2], 4, [4, 4, 4]),
    ],
)
def test_by_hand(sizes, min_partition_size, expected):
    assert sizes_after(sizes, min_partition_size)[2].tolist() == expected


@settings(max_examples=60)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any), st.data())
def test_is_the_largest_giving_one_by_one(sizes, data):
    min_partition_size = data.draw(st.integers(0, sum(sizes) // len(sizes)))
    owners, after, realised = sizes_after(sizes, min_partition_size)
    expected = list(sizes)
    while min(expected) < min_partition_size:
        expected[int(np.argmax(expected))] -= 1
        expected[int(np.argmin(expected))] += 1
    assert sorted(realised) == sorted(expected)
    grew = {client for client in range(len(sizes)) if realised[client] > sizes[client]}
    assert all(realised[client] == min_partition_size for client in grew)
    # Nobody's examples were swapped: those that moved all moved to who was short.
    moved = owners != after
    assert moved.sum() == np.maximum(min_partition_size - np.array(sizes), 0).sum()
    assert set(after[moved]) <= grew


def test_which_examples_move_is_random():
    outcomes = {tuple(sizes_after([8, 0], 1, seed)[1]) for seed in range(200)}
    assert len(outcomes) == 8


def test_anyone_short_can_get_from_anyone_large():
    pairs = set()
    for seed in range(50):
        owners, after, _ = sizes_after([4, 4, 0, 0], 2, seed)
        pairs |= set(zip(owners[owners != after], after[owners != after], strict=True))
    assert pairs == {(0, 2), (0, 3), (1, 2), (1, 3)}


def test_draws_nothing_when_nothing_is_short():
    rng = np.random.default_rng(4)
    owners = np.array([0, 1, 1, 0])
    assert top_up(owners, 2, 2, rng) is owners
    assert rng.random() == np.random.default_rng(4).random()
