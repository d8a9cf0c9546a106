import math

import pytest

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
