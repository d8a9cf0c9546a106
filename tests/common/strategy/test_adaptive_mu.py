import math

import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from common.strategy.adaptive_mu import AdaptiveMu


def follow(start, losses):
    heuristic = AdaptiveMu(start)
    return [heuristic.update(loss) for loss in losses]


def test_a_sequence_by_hand():
    steps = [
        (2.0, 0.0),  # nothing to compare with
        (2.1, 0.1),  # rises
        (2.2, 0.2),
        (2.1, 0.2),  # falls: 1
        (2.0, 0.2),
        (1.9, 0.2),
        (1.8, 0.2),
        (1.7, 0.1),  # 5
        (1.6, 0.1),  # and anew: 1
        (1.5, 0.1),
        (1.4, 0.1),
        (1.3, 0.1),  # 4
        (1.4, 0.2),  # a rise in between
        (1.3, 0.2),  # 1
        (1.2, 0.2),
        (1.1, 0.2),
        (1.0, 0.2),
        (0.9, 0.1),  # 5
        (0.8, 0.1),
        (0.7, 0.1),
        (0.6, 0.1),
        (0.5, 0.1),
        (0.4, 0.0),
    ]
    losses, expected = zip(*steps, strict=True)
    assert follow(0.0, losses) == list(expected)


def test_never_falls_below_zero():
    mus = follow(0.15, range(100, 0, -1))
    assert mus[:5] == [0.15] * 5
    assert mus[5:10] == [0.05] * 5
    assert set(mus[10:]) == {0.0}


def test_an_equal_loss_moves_nothing_and_ends_a_row_of_falls():
    assert follow(1.0, [1.0] * 20) == [1.0] * 20
    falls = [9, 8, 7, 6, 5, 5, 4, 3, 2, 1]
    assert follow(1.0, falls) == [1.0] * 10
    assert follow(1.0, [*falls, 0]) == [1.0] * 10 + [0.9]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_a_rise(loss):
    assert follow(1.0, [5, 4, 3, 2, 1, loss]) == [1, 1, 1, 1, 1, 1.1]
    # What follows it is a fall: five of them, and mu is back.
    assert follow(1.0, [5, loss, 4, 3, 2, 1, 0]) == [1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.0]


def test_the_first_loss_is_compared_with_nothing():
    assert follow(0.5, [math.nan]) == [0.5]
    assert follow(0.5, [math.inf]) == [0.5]


def test_many_steps_stay_whole_tenths():
    assert follow(0.0, range(1001))[-1] == 100.0
    assert follow(0.0, range(4))[-1] == 0.3


LOSSES = st.lists(st.floats() | st.sampled_from([0.0, 1.0, 2.0]) | st.integers(0, 9), max_size=30)


@given(st.floats(0, 5), LOSSES, LOSSES)
def test_restored_it_goes_on_as_if_nothing_had_happened(start, before, after):
    heuristic = AdaptiveMu(start)
    for loss in before:
        heuristic.update(loss)
    restored = AdaptiveMu(9.0)
    restored.restore(heuristic.state())
    assert restored.mu == heuristic.mu
    assert [restored.update(loss) for loss in after] == [heuristic.update(loss) for loss in after]


def test_the_state_is_that_of_its_moment():
    heuristic = AdaptiveMu(0.0)
    heuristic.update(1.0)
    state = heuristic.state()
    assert heuristic.update(2.0) == 0.1
    heuristic.restore(state)
    assert heuristic.mu == 0.0
    assert heuristic.update(0.5) == 0.0


def state_of(**values):
    return RecordDict({"adaptive-mu": MetricRecord(values)})


@pytest.mark.parametrize(
    "state",
    [
        RecordDict(),
        RecordDict({"adaptive-mu": ConfigRecord({"mu": 1.0, "falls": 0})}),
        state_of(),
        state_of(mu=1.0),
        state_of(falls=0),
        state_of(mu=[1.0], falls=0),
        state_of(mu=math.nan, falls=0),
        state_of(mu=math.inf, falls=0),
        state_of(mu=-0.1, falls=0),
        state_of(mu=10**400, falls=0),
        state_of(mu=1.0, falls=[0]),
        state_of(mu=1.0, falls=0.5),
        state_of(mu=1.0, falls=5),
        state_of(mu=1.0, falls=-1),
        state_of(mu=1.0, falls=10**400),
        state_of(mu=1.0, falls=0, **{"last-loss": math.nan}),
        state_of(mu=1.0, falls=0, **{"last-loss": [1.0]}),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(state):
    heuristic = AdaptiveMu(0.5)
    heuristic.update(1.0)
    before = heuristic.state()
    with pytest.raises((KeyError, TypeError, ValueError)):
        heuristic.restore(state)
    assert heuristic.state() == before


NUMBERS = st.integers() | st.floats() | st.integers(0, 4)
VALUES = NUMBERS | st.lists(st.integers(0, 1), max_size=2)


@given(
    st.dictionaries(st.sampled_from(["mu", "falls", "last-loss", "x"]), VALUES), st.lists(NUMBERS)
)
def test_whatever_the_state_it_is_refused_or_works(values, losses):
    heuristic = AdaptiveMu(0.5)
    try:
        heuristic.restore(state_of(**values))
    except (KeyError, TypeError, ValueError):
        assert heuristic.mu == 0.5
    for loss in losses:
        assert 0 <= heuristic.update(loss) < math.inf or heuristic.mu > 1e300
