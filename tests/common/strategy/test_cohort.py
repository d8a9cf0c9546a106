import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserInputError
from common.strategy.cohort import (
    num_complete,
    partial_batches,
    partial_epochs,
    require_a_complete_client,
    sample_cohort,
)

SEEDS = st.integers(0, 2**32 - 1)
ROUNDS = st.integers(1, 10_000)
FRACTIONS = st.floats(0, 1) | st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0])


@st.composite
def sizes(draw):
    num_clients = draw(st.integers(1, 300))
    return num_clients, draw(st.integers(1, num_clients))


@given(SEEDS, ROUNDS, sizes(), FRACTIONS)
def test_a_cohort_is_k_distinct_clients_of_which_exactly_round_k_1_minus_p_complete(
    seed, round_, size, fraction
):
    num_clients, k = size
    cohort = sample_cohort(seed, round_, num_clients, k, fraction)
    clients = cohort.clients.tolist()
    assert clients == sorted(set(clients))
    assert len(clients) == len(cohort.stragglers) == k
    assert 0 <= clients[0] <= clients[-1] < num_clients
    assert (~cohort.stragglers).sum() == round(k * (1 - fraction)) == num_complete(k, fraction)


@pytest.mark.parametrize(
    ("k", "fraction", "complete"),
    [
        (10, 0.9, 1),  # 10 * (1 - 0.9) is 0.9999999999999998
        (10, 0.5, 5),
        (10, 0.0, 10),
        (10, 1.0, 0),
        (10, 0.96, 0),
        (10, 0.94, 1),
        (100, 0.9, 10),
        (100, 0.29, 71),
        (3, 0.5, 2),  # 1.5 to the even number, as Python and the authors' NumPy round
        (5, 0.5, 2),
        (1, 0.4, 1),
    ],
)
def test_the_number_that_completes(k, fraction, complete):
    assert num_complete(k, fraction) == complete
    for round_ in range(1, 30):
        cohort = sample_cohort(0, round_, 100, k, fraction)
        assert (~cohort.stragglers).sum() == complete


def test_a_cohort_of_everybody_is_everybody():
    assert sample_cohort(3, 1, 12, 12, 0.5).clients.tolist() == list(range(12))


def draws(seed, rounds):
    cohorts = [sample_cohort(seed, round_, 50, 10, 0.5) for round_ in rounds]
    return [(c.clients.tolist(), c.stragglers.tolist()) for c in cohorts]


def test_a_cohort_is_a_function_of_seed_and_round():
    rounds = range(1, 21)
    assert draws(1, rounds) == draws(1, rounds)
    assert draws(1, rounds) == draws(1, reversed(rounds))[::-1]
    assert all(a != b for a, b in zip(draws(1, rounds), draws(2, rounds), strict=True))
    assert len({str(cohort) for cohort in draws(1, rounds)}) == 20


@given(SEEDS, ROUNDS, sizes())
def test_arms_with_another_fraction_meet_the_same_clients(seed, round_, size):
    cohorts = [sample_cohort(seed, round_, *size, fraction) for fraction in (0.0, 0.5, 0.9)]
    for cohort in cohorts[1:]:
        assert cohort.clients.tolist() == cohorts[0].clients.tolist()


def test_clients_and_stragglers_are_drawn_uniformly():
    num_clients, k, rounds = 20, 8, 3000
    chosen, straggled = np.zeros(num_clients), np.zeros(num_clients)
    in_place = np.zeros(k)
    for round_ in range(1, rounds + 1):
        cohort = sample_cohort(5, round_, num_clients, k, 0.5)
        chosen[cohort.clients] += 1
        straggled[cohort.clients[cohort.stragglers]] += 1
        in_place += cohort.stragglers
    # Five standard deviations of binomial counts.
    for counts, p in ((chosen, 0.4), (straggled, 0.2), (in_place, 0.5)):
        assert np.abs(counts - rounds * p).max() < 5 * np.sqrt(rounds * p * (1 - p))


def test_no_two_places_straggle_together():
    together = 0
    for round_ in range(1, 2001):
        cohort = sample_cohort(6, round_, 4, 4, 0.5)
        together += cohort.stragglers[0] == cohort.stragglers[1]
    assert abs(together - 2000 / 3) < 5 * np.sqrt(2000 * 2 / 9)


def test_the_draws_are_those_of_the_published_results():
    """A change here changes every stored number, whatever else the tests say."""
    cohort = sample_cohort(0, 1, 30, 10, 0.5)
    stragglers = cohort.clients[cohort.stragglers].tolist()
    assert cohort.clients.tolist() == [8, 11, 13, 16, 19, 21, 22, 24, 26, 29]
    assert stragglers == [11, 13, 16, 19, 22]
    assert [partial_epochs(0, 1, client, 20) for client in stragglers] == [7, 1, 19, 2, 17]


@given(SEEDS, ROUNDS, st.integers(0, 10_000), st.integers(2, 40))
def test_a_straggler_does_some_but_not_all_epochs(seed, round_, client, num_epochs):
    epochs = partial_epochs(seed, round_, client, num_epochs)
    assert type(epochs) is int
    assert 1 <= epochs <= num_epochs - 1
    assert epochs == partial_epochs(seed, round_, client, num_epochs)


@pytest.mark.parametrize("by", ["seed", "round", "client"])
def test_partial_epochs_take_every_value_equally_often(by):
    address = {"seed": 1, "round": 1, "client": 1}
    counts = np.zeros(6)
    for i in range(2000):
        address[by] = i
        counts[partial_epochs(**address, num_epochs=6)] += 1
    assert counts[0] == 0
    assert np.abs(counts[1:] - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


def test_a_fraction_that_drops_everybody_is_refused():
    require_a_complete_client(10, 0.9)
    with pytest.raises(UserInputError, match=r"stragglers_fraction=0.96 .*clients_per_round=10"):
        require_a_complete_client(10, 0.96)


def test_partial_batches_take_every_value_equally_often():
    counts = np.bincount([partial_batches(0, 1, client, 5) for client in range(4000)])
    assert counts[0] == 0
    assert len(counts) == 5  # 1 to 4 of 5 mini-batches
    assert abs(counts[1:] / 1000 - 1).max() < 0.1


@given(st.integers(0, 2**32 - 1), st.integers(1, 100), st.integers(0, 999), st.integers(1, 500))
def test_partial_batches_leave_something_undone_where_that_is_possible(seed, round_, client, t):
    batches = partial_batches(seed, round_, client, t)
    assert 1 <= batches <= max(1, t - 1)
    assert batches == partial_batches(seed, round_, client, t)
