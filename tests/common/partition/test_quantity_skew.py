import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.partition import label_counts, quantity_skew, total_variation


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(0, 5), st.integers(1, 200), st.floats(0, 1e308))
def test_no_client_is_below_the_smallest_size(num_clients, min_partition_size, spare, sigma):
    num_examples = num_clients * max(min_partition_size, 1) + spare
    rng = np.random.default_rng(0)
    sizes = quantity_skew(num_examples, num_clients, sigma, rng, min_partition_size).sizes
    assert sizes.min() >= min_partition_size
    assert sizes.sum() == num_examples


def test_sigma_zero_gives_equal_sizes():
    assert quantity_skew(14, 4, 0.0, np.random.default_rng(0)).sizes.tolist() == [4, 4, 3, 3]


def test_sizes_are_lognormal():
    sizes = quantity_skew(
        1_000_000, 2_000, 1.0, np.random.default_rng(0), min_partition_size=0
    ).sizes
    # Median size 300, so rounding does not matter; deviation of a sample of 2,000: 1.6 %.
    assert np.log(sizes).std() == pytest.approx(1.0, rel=0.06)


def test_labels_are_those_of_the_training_set():
    labels = np.repeat(np.arange(5), 4_000)  # sorted, as some training sets are
    partition = quantity_skew(len(labels), 5, 0.5, np.random.default_rng(0))
    assert total_variation(label_counts(partition, labels, 5)).max() < 0.05


@pytest.mark.parametrize(
    ("sigma", "min_partition_size", "message"),
    [
        (-0.1, 1, "sigma=-0.1 is not allowed: it must be a finite number of at least 0."),
        (np.inf, 1, "sigma=inf is not allowed: it must be a finite number of at least 0."),
        (1.0, -1, "min_partition_size=-1 is not allowed: it must be a whole number of at least 0."),
        (
            1.0,
            4,
            "min_partition_size=4 is not allowed: it must be at most 3, 10 examples / 3 clients.",
        ),
    ],
)
def test_refuses(sigma, min_partition_size, message):
    with pytest.raises(ValueError, match="is not allowed") as caught:
        quantity_skew(10, 3, sigma, np.random.default_rng(0), min_partition_size)
    assert str(caught.value) == message
