import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.analysis.statistics import (
    at_convergence,
    best,
    convergence_round,
    estimate,
    fluctuation,
    last,
    paired_difference,
    prediction_interval,
    rounds_to_target,
    tail_mean,
)
from common.errors import UserInputError

few = settings(settings.get_profile("any machine"), max_examples=25)
fractions = st.floats(0, 1)
numbers = st.floats(-1e6, 1e6)
curves = arrays(np.float64, st.integers(1, 30), elements=fractions)
seeds = arrays(np.float64, st.integers(2, 10), elements=numbers)


def array(*values):
    return np.array(values, dtype=np.float64)


def test_the_interval_is_students_t():
    # s = 1, and the 97.5 % quantile of t with 2 degrees of freedom is 4.302653; times 1/sqrt(3).
    found = estimate(array(1, 2, 3))
    assert found.value == 2
    assert found.low == pytest.approx(2 - 2.484138)
    assert found.high == pytest.approx(2 + 2.484138)
    assert found.n == 3


def test_the_interval_of_five_seeds():
    # s^2 = 2.5, s / sqrt(5) = 0.707107, and the quantile with 4 degrees of freedom is 2.776445.
    found = estimate(array(5, 1, 4, 2, 3))
    assert (found.low, found.high) == pytest.approx((3 - 1.963243, 3 + 1.963243))


def test_one_seed_has_no_interval():
    found = estimate(array(0.5))
    assert (found.value, found.n) == (0.5, 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [(1, math.inf), (math.inf, -math.inf), (1, math.nan)])
def test_what_is_not_finite_has_no_interval(values):
    found = estimate(array(*values))
    assert not math.isfinite(found.value)
    assert math.isnan(found.low)


def test_one_further_seed_may_lie_further_out():
    # s = 1, times 4.302653 and the root of 4/3.
    assert prediction_interval(array(1, 2, 3)) == pytest.approx((2 - 4.968276, 2 + 4.968276))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [(1,), (1, math.inf), (1, math.nan)])
def test_without_two_finite_seeds_nothing_is_said_of_a_further_one(values):
    assert np.isnan(prediction_interval(array(*values))).all()


def test_no_seed_is_refused():
    with pytest.raises(UserInputError, match="must hold at least one seed's"):
        estimate(array())


@few
@given(seeds)
def test_the_interval_holds_the_mean(values):
    found = estimate(values)
    assert found.low <= found.value <= found.high


def test_what_arms_have_in_common_cancels():
    found = paired_difference(array(1.5, 10.5, 100.5), array(1, 10, 100))
    assert (found.value, found.low, found.high, found.n) == (0.5, 0.5, 0.5, 3)


@few
@given(seeds)
def test_equal_arms_do_not_differ(values):
    found = paired_difference(values, values)
    assert (found.value, found.low, found.high) == (0, 0, 0)


@pytest.mark.filterwarnings("error")
def test_a_difference_of_infinities_is_nan():
    assert math.isnan(paired_difference(array(math.inf, 1), array(math.inf, 0)).value)


def test_a_difference_needs_the_same_seeds():
    with pytest.raises(UserInputError, match="of 2 and 1 seeds is not allowed"):
        paired_difference(array(1, 2), array(1))


def test_last_and_best():
    assert last(array(1, 3, 2)) == 2
    assert best(array(1, 3, 2)) == 3
    assert best(array(math.nan, 1, math.nan)) == 1


@pytest.mark.filterwarnings("error")
def test_the_best_of_nothing_is_nan():
    assert math.isnan(best(array(math.nan, math.nan)))


def test_the_tail_is_the_last_ten_rounds_or_all():
    assert tail_mean(array(*[0] * 90, *range(1, 11))) == 5.5
    assert tail_mean(array(1, 2, 3), tail=2) == 2.5
    assert tail_mean(array(1, 2, 3)) == 2


def test_a_run_that_was_stopped_has_no_tail():
    assert math.isnan(tail_mean(array(1, 2, math.nan, math.nan)))
    assert math.isnan(last(array(1, 2, math.nan)))


def test_the_target_is_reached_between_two_rounds():
    # Best so far: 0.2, 0.6, 0.6, 0.7. From 0.6 in round 3 to 0.7 in round 4.
    curve = array(0.2, 0.6, 0.1, 0.7)
    assert rounds_to_target(curve, 0.65) == pytest.approx(3.5)
    assert rounds_to_target(curve, 0.3) == pytest.approx(1.25)
    assert rounds_to_target(curve, 0.6) == 2
    assert rounds_to_target(curve, 0.7) == 4


def test_a_target_that_the_first_round_reaches_takes_one_round():
    assert rounds_to_target(array(0.9, 0.5), 0.8) == 1


def test_a_target_that_is_never_reached_takes_forever():
    assert rounds_to_target(array(0.9, 0.5), 0.91) == math.inf


def test_rounds_without_a_value_are_passed_over():
    # From 0.5 in round 2 to 0.7 in round 4.
    assert rounds_to_target(array(math.nan, 0.5, math.nan, 0.7), 0.4) == 2
    assert rounds_to_target(array(math.nan, 0.5, math.nan, 0.7), 0.6) == pytest.approx(3)
    assert rounds_to_target(array(0.5, math.nan, 0.3, math.nan, 0.7), 0.6) == pytest.approx(4)
    assert rounds_to_target(array(0.2, 0.6, math.nan), 0.4) == pytest.approx(1.5)
    assert rounds_to_target(array(math.nan), 0.5) == math.inf


@few
@given(curves, fractions, fractions)
def test_a_higher_target_takes_no_fewer_rounds(curve, a, b):
    low, high = (rounds_to_target(curve, target) for target in sorted((a, b)))
    assert 1 <= low <= high
    assert high == math.inf or high <= len(curve)


def test_the_fluctuation_is_the_mean_change_of_a_round():
    assert fluctuation(array(0.25, 0.75, 0.5, 0.5)) == 0.25
    assert fluctuation(array(1, 1)) == 0


@pytest.mark.filterwarnings("error")
def test_the_fluctuation_of_what_is_not_known_is_nan():
    for curve in (array(1), array(1, math.nan, 2), array(math.inf, math.inf)):
        assert math.isnan(fluctuation(curve))


def test_a_run_has_converged_when_its_loss_hardly_changes():
    assert convergence_round(array(1.0, 0.5, 0.49995, 0.4)) == 3
    assert convergence_round(array(1.0, 0.5, 0.50005, 0.4)) == 3
    assert convergence_round(array(1.0, 1.0)) == 2


def test_a_run_has_diverged_when_its_loss_rose_by_one_in_ten_rounds():
    rising = np.arange(15) * 0.125  # f_11 - f_1 = 1.25
    assert convergence_round(rising) == 11
    # f_11 - f_1 = 1.125 - 0.3, f_12 - f_2 = 1.25 - 0
    assert convergence_round(np.append(0.3, rising)) == 12


def test_what_neither_converges_nor_diverges_ends_in_its_last_round():
    up_and_down = array(0, 0.5, 0, 0.5, 0, 0.5, 0, 0.5, 0, 0.5, 1.0, 0.5)  # f_11 - f_1 = 1
    assert convergence_round(up_and_down) == 12
    assert convergence_round(array(1.0)) == 1


def test_what_comes_first_counts():
    falls_then_rises = array(3, 2, 2, *range(3, 14))
    assert convergence_round(falls_then_rises) == 3
    assert convergence_round(array(*range(12), 11)) == 11


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_divergence(loss):
    assert convergence_round(array(2, 1, loss, 0.5, 0.5)) == 3
    assert convergence_round(array(loss, 1)) == 1
    assert convergence_round(array(*[loss] * 12)) == 1


@few
@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(width=32)))
def test_every_run_ends_in_one_of_its_rounds(train_loss):
    found = convergence_round(train_loss)
    assert 1 <= found <= len(train_loss)
    if found < len(train_loss):  # What follows does not matter.
        assert convergence_round(train_loss[:found]) == found


def test_a_curve_at_convergence():
    assert at_convergence(array(0.1, 0.2, 0.3, 0.4), array(2, 1, 1, 0.5)) == 0.3
