import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruning_afo.pruning_schedule import PruningRounds, cubic_density

from common.errors import UserInputError


def due(rounds):
    return [round_ for round_ in range(20) if rounds.is_due(round_)]


def test_the_rounds_after_which_a_mask_changes():
    assert due(PruningRounds(2, 10, 3)) == [2, 5, 8, 10]
    assert due(PruningRounds(2, 8, 3)) == [2, 5, 8]
    assert due(PruningRounds(0, 4, 4)) == [0, 4]
    assert due(PruningRounds(5, 5, 1)) == [5]


def test_progress():
    rounds = PruningRounds(2, 10, 3)
    assert [rounds.progress(round_) for round_ in (0, 2, 4, 10, 12)] == [0, 0, 0.25, 1, 1]
    assert [PruningRounds(5, 5, 1).progress(round_) for round_ in (4, 5, 6)] == [0, 1, 1]


def test_an_end_before_the_start_is_refused():
    with pytest.raises(UserInputError, match="pruning_end=3 is not allowed: it must be at least"):
        PruningRounds(4, 3, 1)


def test_zhu_and_guptas_schedule_by_hand():
    """Sparsity .8 (1 - 1/8) at half-way."""
    assert cubic_density(0.0, 0.2) == 1
    assert cubic_density(0.5, 0.2) == pytest.approx(1 - 0.7)
    assert cubic_density(1.0, 0.2) == pytest.approx(0.2)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1))
def test_the_density_falls_and_stays_between_both_ends(a, b, density):
    early, late = cubic_density(min(a, b), density), cubic_density(max(a, b), density)
    assert density - 1e-12 <= late <= early <= 1
