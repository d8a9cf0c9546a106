import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruning_afo.learning_rate import learning_rate_at, parse_steps


def rates(num_rounds, steps, initial=0.1):
    return [learning_rate_at(t, num_rounds, initial, steps) for t in range(1, num_rounds + 1)]


def test_the_documents_steps_over_its_50_rounds():
    found = rates(50, "0.4,0.6,0.8")
    expected = [0.1] * 20 + [0.01] * 10 + [0.001] * 10 + [0.0001] * 10
    assert found == pytest.approx(expected)


def test_without_steps_it_is_constant():
    assert rates(7, "", initial=0.3) == [0.3] * 7


def test_a_share_between_two_rounds_is_reached_in_the_later_one():
    # Half of 5 rounds, and a tenth of them, which is before the first has ended.
    assert rates(5, "0.5", initial=1.0) == pytest.approx([1, 1, 0.1, 0.1, 0.1])
    assert rates(5, "0.1", initial=1.0) == pytest.approx([0.1] * 5)


@given(st.integers(1, 99), st.integers(1, 60))
def test_a_share_of_some_rounds_ends_with_the_last_of_them(percent, hundreds):
    """Whatever digits a float has: 0.29 * 100 is less than 29."""
    num_rounds, last = 100 * hundreds, percent * hundreds
    for steps in (f"0.{percent:02}", f"{percent}e-2"):
        assert learning_rate_at(last, num_rounds, 1.0, steps) == 1.0
        assert learning_rate_at(last + 1, num_rounds, 1.0, steps) == 0.1


def test_shares_are_numbers_with_commas_between_them():
    assert parse_steps("") == []
    assert parse_steps("0.5") == [0.5]
    assert parse_steps("0.25, 0.5,.75") == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    "steps",
    ["0", "1", "1.5", "-0.5", "nan", "inf", "0.5,0.4", "0.5,0.5", "a", "0.5,", ",", "0.4;0.6", " "],
)
def test_anything_else_is_refused(steps):
    with pytest.raises(ValueError, match=r"^learning_rate_steps=.* is not allowed: it must be "):
        parse_steps(steps)
    with pytest.raises(ValueError, match="is not allowed"):
        learning_rate_at(1, 10, 0.1, steps)
