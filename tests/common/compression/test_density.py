import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.compression.density import DensitySchedule


def test_the_warm_up_of_the_paper():
    schedule = DensitySchedule(density=0.001, warmup_rounds=4)
    percents = [f"{100 * schedule.at(round_):.2g}" for round_ in range(1, 7)]
    assert percents == ["25", "6.3", "1.6", "0.4", "0.1", "0.1"]


def test_two_warm_up_rounds_by_hand():
    schedule = DensitySchedule(density=0.125, warmup_rounds=2)
    assert [schedule.at(round_) for round_ in range(1, 5)] == pytest.approx(
        [0.5, 0.25, 0.125, 0.125]
    )


@pytest.mark.parametrize("warmup_rounds", [0, 5])
def test_density_1_is_constant(warmup_rounds):
    schedule = DensitySchedule(1.0, warmup_rounds)
    assert [schedule.at(round_) for round_ in range(1, 9)] == [1.0] * 8


def test_without_warm_up_the_first_round_has_the_density():
    assert DensitySchedule(0.01).at(1) == 0.01


@given(st.floats(1e-6, 1), st.integers(0, 20))
def test_it_falls_from_below_1_to_the_density(density, warmup_rounds):
    schedule = DensitySchedule(density, warmup_rounds)
    found = [schedule.at(round_) for round_ in range(1, warmup_rounds + 3)]
    assert found == sorted(found, reverse=True)
    assert found[0] <= 1
    assert found[-2:] == [density, density]
