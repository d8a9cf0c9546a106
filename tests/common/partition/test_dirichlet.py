import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.partition import (
    dirichlet_over_clients,
    dirichlet_over_labels,
    label_counts,
    total_variation,
)
from common.partition.dirichlet import _take_in_turn

BOTH = [dirichlet_over_clients, dirichlet_over_labels]
EXTREME_ALPHAS = [5e-324, 1e-300, 1e-6, 1e-3, 1.0, 1e6, 1e300, np.finfo(float).max]


def uneven_labels(num_examples, num_classes=10):
    """Shuffled labels of classes of which the largest has about twice the smallest."""
    weights = np.linspace(1, 2, num_classes)
    cuts = np.round(np.cumsum(weights) / weights.sum() * num_examples).astype(int)
    labels = np.repeat(np.arange(num_classes), np.diff(cuts, prepend=0))
    return np.random.default_rng(7).permutation(labels)


@pytest.mark.parametrize("scheme", BOTH)
@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=120),
    st.data(),
    st.sampled_from(EXTREME_ALPHAS),
    st.integers(0, 2**32),
)
def test_every_example_once_at_any_alpha(scheme, labels, data, alpha, seed):
    labels = np.array(labels)
    num_clients = data.draw(st.integers(1, len(labels)))
    min_partition_size = data.draw(st.integers(0, len(labels) // num_clients))
    with np.errstate(all="raise", under="ignore"):
        partition = scheme(
            labels, num_clients, alpha, np.random.default_rng(seed), min_partition_size
        )
    assert np.array_equal(np.sort(partition.indices), np.arange(len(labels)))
    assert partition.num_clients == num_clients
    assert partition.sizes.min() >= min_partition_size


@pytest.mark.parametrize("scheme", BOTH)
def test_a_smaller_alpha_is_a_larger_skew(scheme):
    labels = uneven_labels(20_000)
    distances = [
        np.nanmean(
            total_variation(
                label_counts(scheme(labels, 100, alpha, np.random.default_rng(0)), labels, 10)
            )
        )
        for alpha in (0.01, 0.3, 3.0, 100.0, 1e5)
    ]
    assert (np.diff(distances) < -0.01).all()


def test_over_clients_has_the_mean_and_variance_of_the_distribution():
    # 2,000 classes of 200 are 2,000 draws of the proportions of 4 clients.
    labels = np.repeat(np.arange(2_000), 200)
    partition = dirichlet_over_clients(labels, 4, 0.5, np.random.default_rng(0))
    shares = label_counts(partition, labels, 2_000) / 200
    assert shares.mean(axis=1) == pytest.approx(np.full(4, 0.25), abs=0.02)
    variance = 0.25 * 0.75 / (4 * 0.5 + 1)
    assert shares.var(axis=1) == pytest.approx(np.full(4, variance), rel=0.08)


@pytest.mark.parametrize("alpha", [1e-6, 1e-300])
def test_over_clients_with_tiny_alpha_gives_a_class_to_one_client(alpha):
    labels = uneven_labels(1_000)
    partition = dirichlet_over_clients(labels, 50, alpha, np.random.default_rng(0))
    assert ((label_counts(partition, labels, 10) > 0).sum(axis=0) == 1).all()


@pytest.mark.parametrize("alpha", [1e12, 1e300])
def test_over_clients_with_huge_alpha_splits_every_class_evenly(alpha):
    labels = uneven_labels(5_000)
    counts = label_counts(
        dirichlet_over_clients(labels, 30, alpha, np.random.default_rng(0)), labels, 10
    )
    assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()


def test_over_clients_tops_up_small_clients_and_spares_the_others():
    labels = uneven_labels(2_000)
    plain = dirichlet_over_clients(labels, 40, 0.05, np.random.default_rng(3)).sizes
    topped_up = dirichlet_over_clients(
        labels, 40, 0.05, np.random.default_rng(3), min_partition_size=10
    )
    assert plain.min() < 10
    assert topped_up.sizes.min() == 10
    middle = (plain >= 10) & (plain <= np.median(plain[plain >= 10]))
    assert middle.any()
    assert np.array_equal(topped_up.sizes[middle], plain[middle])


def test_over_labels_gives_equal_sizes():
    sizes = dirichlet_over_labels(uneven_labels(1_003), 20, 0.3, np.random.default_rng(0)).sizes
    assert sizes.tolist() == [51] * 3 + [50] * 17


def test_over_labels_has_the_variance_of_alpha_times_prior():
    labels = uneven_labels(100_000, 5)
    counts = label_counts(
        dirichlet_over_labels(labels, 500, 50.0, np.random.default_rng(0)), labels, 5
    )
    prior = np.bincount(labels) / len(labels)
    # Alpha in all, not alpha a label: that would be a fifth of it. The few last clients, who take
    # what is left, are not draws of the distribution.
    typical = np.argsort(total_variation(counts))[:480]
    spread = (counts[typical] / 200).var(axis=0)
    assert spread == pytest.approx(prior * (1 - prior) / 51, rel=0.3)


@pytest.mark.parametrize("alpha", [1e-6, 1e-300])
def test_over_labels_with_tiny_alpha_gives_a_client_one_label_until_it_runs_out(alpha):
    labels = uneven_labels(10_000)
    counts = label_counts(
        dirichlet_over_labels(labels, 100, alpha, np.random.default_rng(0)), labels, 10
    )
    # Whoever has a second label found the first one gone, which can happen once a class, but not
    # for the last one.
    assert 100 <= (counts > 0).sum() <= 100 + 9


@pytest.mark.parametrize("alpha", [1e9, 1e300])
def test_over_labels_with_huge_alpha_gives_everyone_the_mix_of_all(alpha):
    labels = uneven_labels(60_000)
    counts = label_counts(
        dirichlet_over_labels(labels, 1_000, alpha, np.random.default_rng(0)), labels, 10
    )
    distances = np.sort(total_variation(counts))
    # Rounding to whole examples of 60; largest remainders would leave some 25 clients above 0.2.
    assert distances[-10] < 0.06
    assert distances.mean() < 0.03


def test_over_labels_favours_no_client_number():
    labels = uneven_labels(2_000)
    distances = np.mean(
        [
            total_variation(
                label_counts(
                    dirichlet_over_labels(labels, 20, 5.0, np.random.default_rng(seed)), labels, 10
                )
            )
            for seed in range(60)
        ],
        axis=0,
    )
    # Those served last have odd leftovers; were that always client 19, it would stand out.
    assert distances.max() < 1.25 * np.median(distances)


def test_clients_in_turn_by_hand():
    first, second = [0.0, -1e9], [-1e9, 0.0]
    rng = np.random.default_rng(0)

    def take(mixes, sizes, stock):
        return _take_in_turn(np.array(mixes), np.array(sizes), np.array(stock), rng).tolist()

    # The second client wants three of class 0 and finds one.
    assert take([first, first], [3, 3], [4, 2]) == [[3, 0], [1, 2]]
    # The first client takes exactly the last of class 0; the others turn to class 1.
    assert take([first, first, second], [2, 2, 2], [2, 4]) == [[2, 0], [0, 2], [0, 2]]
    # Half and half, all the way down.
    assert take([[0.0, 0.0]] * 3, [4, 4, 4], [6, 6]) == [[2, 2]] * 3


@settings(max_examples=60)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.data())
def test_clients_in_turn_take_all_there_is(stock, data):
    stock = np.array(stock)
    num_clients = data.draw(st.integers(1, min(25, stock.sum())))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sizes = 1 + rng.multinomial(stock.sum() - num_clients, np.full(num_clients, 1 / num_clients))
    mixes = rng.normal(0, data.draw(st.sampled_from([0.1, 3.0, 1e6])), (num_clients, len(stock)))
    counts = _take_in_turn(mixes, sizes, stock, rng)
    assert np.array_equal(counts.sum(axis=0), stock)
    assert np.array_equal(counts.sum(axis=1), sizes)
    assert counts.min() >= 0


@pytest.mark.parametrize("scheme", BOTH)
@pytest.mark.parametrize(
    ("alpha", "min_partition_size", "message"),
    [
        (0.0, 0, "alpha=0.0 is not allowed: it must be a finite number above 0."),
        (-1.0, 0, "alpha=-1.0 is not allowed: it must be a finite number above 0."),
        (np.nan, 0, "alpha=nan is not allowed: it must be a finite number above 0."),
        (np.inf, 0, "alpha=inf is not allowed: it must be a finite number above 0."),
        (1.0, -1, "min_partition_size=-1 is not allowed: it must be a whole number of at least 0."),
        (
            1.0,
            4,
            "min_partition_size=4 is not allowed: it must be at most 3, 10 examples / 3 clients.",
        ),
    ],
)
def test_refuses(scheme, alpha, min_partition_size, message):
    with pytest.raises(ValueError, match="is not allowed") as caught:
        scheme(np.zeros(10, int), 3, alpha, np.random.default_rng(0), min_partition_size)
    assert str(caught.value) == message
