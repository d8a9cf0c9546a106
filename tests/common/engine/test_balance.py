import itertools

from hypothesis import given
from hypothesis import strategies as st

from common.engine.balance import deal

WORK = st.lists(st.floats(0, 1e6), min_size=1, max_size=40)


def makespan(work, hands):
    return max(sum(work[i] for i in hand) for hand in hands)


def test_a_case_by_hand():
    """The longest first: 7 | 6, then 5 to the 6, 4 to the 7, 3 to the 11 (the first), 2 to the
    other 11."""
    assert deal([2, 3, 4, 5, 6, 7], 2) == [[1, 2, 5], [0, 3, 4]]


def test_equal_work_is_dealt_in_turn():
    assert deal([1] * 7, 3) == [[0, 3, 6], [1, 4], [2, 5]]


def test_one_worker_has_everything_in_order():
    assert deal([3, 1, 2], 1) == [[0, 1, 2]]


@given(WORK, st.integers(1, 8))
def test_everybody_is_dealt_out_once_and_in_order(work, num_workers):
    hands = deal(work, num_workers)
    assert len(hands) == num_workers
    assert sorted(itertools.chain(*hands)) == list(range(len(work)))
    assert all(hand == sorted(hand) for hand in hands)


@given(WORK, st.integers(1, 8))
def test_nobody_waits_much_longer_than_must_be(work, num_workers):
    """Graham's bound, against what no dealing can beat: the mean, and the longest."""
    best = max(sum(work) / num_workers, max(work))
    assert makespan(work, deal(work, num_workers)) <= 2 * best * (1 + 1e-9)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=7), st.integers(1, 3))
def test_at_most_a_third_longer_than_the_best(work, num_workers):
    best = min(
        makespan(work, [[i for i, w in enumerate(workers) if w == k] for k in range(num_workers)])
        for workers in itertools.product(range(num_workers), repeat=len(work))
    )
    assert makespan(work, deal(work, num_workers)) <= 4 / 3 * best


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20), st.integers(1, 20))
def test_no_worker_is_idle_while_there_are_clients(work, num_workers):
    assert sum(map(bool, deal(work, num_workers))) == min(len(work), num_workers)
