import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserInputError
from common.strategy.mu_schedule import MuSchedule, require_one_rule_for_mu

SHAPES = ["constant", "linear", "cosine"]


def mus(*schedule):
    schedule = MuSchedule(*schedule)
    return [schedule.at(round_) for round_ in range(1, schedule.num_rounds + 1)]


def test_schedules_by_hand():
    assert mus("constant", 1.0, 0.0, 5) == [1.0] * 5
    assert mus("linear", 1.0, 0.0, 5) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert mus("linear", 0.0, 2.0, 5) == [0.0, 0.5, 1.0, 1.5, 2.0]
    root = math.sqrt(0.5)
    assert mus("cosine", 1.0, 0.0, 5) == pytest.approx([1, (1 + root) / 2, 0.5, (1 - root) / 2, 0])
    assert mus("cosine", 1.0, 3.0, 3) == pytest.approx([1, 2, 3])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_of_one_round_has_mu(shape):
    assert mus(shape, 0.5, 2.0, 1) == [0.5]


MUS = st.floats(0, 1e6)


@pytest.mark.parametrize("shape", SHAPES[1:])
@given(MUS, MUS, st.integers(2, 50))
def test_it_goes_from_mu_to_mu_final_and_never_back(shape, mu, mu_final, num_rounds):
    found = mus(shape, mu, mu_final, num_rounds)
    assert (found[0], found[-1]) == (mu, mu_final)
    assert min(found) >= 0
    slack = 1e-9 * max(mu, mu_final)
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert all(step * (mu_final - mu) >= -slack * abs(mu_final - mu) for step in steps)


def test_adaptive_mu_takes_no_schedule():
    require_one_rule_for_mu("constant", adaptive_mu=True)
    require_one_rule_for_mu("cosine", adaptive_mu=False)
    with pytest.raises(UserInputError) as caught:
        require_one_rule_for_mu("cosine", adaptive_mu=True)
    assert str(caught.value) == (
        "mu_schedule='cosine' is not allowed with adaptive_mu=True: it must be constant, for "
        "adaptive mu follows the training loss."
    )
