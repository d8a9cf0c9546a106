import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.partition import label_counts, power_law

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_the_papers_mnist():
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10), MNIST_TRAIN))
    counts = label_counts(power_law(labels, 1000, np.random.default_rng(0)), labels, 10)
    for client, row in enumerate(counts):
        assert set(np.flatnonzero(row)) == {client % 10, (client + 1) % 10}
        assert row[row > 0].min() >= 5
    assert counts.sum(axis=0).tolist() == MNIST_TRAIN
    sizes = counts.sum(axis=1)
    # Heavy-tailed: the mean is 60, yet half the clients have less than half of that.
    assert np.median(sizes) < 30
    assert sizes.max() > 600


@settings(max_examples=40)
@given(st.data())
def test_every_client_has_exactly_its_classes_and_enough_of_each(data):
    num_classes = data.draw(st.integers(1, 6))
    classes_per_client = data.draw(st.integers(1, num_classes))
    num_clients = data.draw(st.integers(num_classes - classes_per_client + 1, 30))
    min_per_class = data.draw(st.integers(1, 4))
    held = (np.arange(num_clients)[:, None] + np.arange(classes_per_client)) % num_classes
    needed = np.bincount(held.ravel(), minlength=num_classes) * min_per_class
    spare = data.draw(
        st.lists(st.integers(0, 40), min_size=num_classes, max_size=num_classes).map(np.array)
    )
    labels = np.repeat(np.arange(num_classes), needed + spare)
    sigma = data.draw(st.sampled_from([0.0, 2.0, 50.0, 1e300]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    partition = power_law(labels, num_clients, rng, classes_per_client, min_per_class, sigma)
    counts = label_counts(partition, labels, num_classes)
    expected = np.zeros_like(counts, dtype=bool)
    np.put_along_axis(expected, held, True, axis=1)
    assert np.array_equal(counts > 0, expected)
    assert counts[expected].min() >= min_per_class
    assert np.array_equal(counts.sum(axis=0), needed + spare)


def test_by_hand_without_spare_examples():
    labels = np.repeat([0, 1, 2], 4)
    partition = power_law(labels, 3, np.random.default_rng(0), min_per_class=2)
    assert label_counts(partition, labels, 3).tolist() == [[2, 2, 0], [0, 2, 2], [2, 0, 2]]


def test_by_hand_with_equal_shares():
    # Class 0 has holders 0 and 2, class 1 has holder 1; 12 - 2 and 7 - 1 are spare.
    labels = np.repeat([0, 1], [12, 7])
    partition = power_law(
        labels, 3, np.random.default_rng(0), classes_per_client=1, min_per_class=1, sigma=0.0
    )
    assert label_counts(partition, labels, 2).tolist() == [[6, 0], [0, 7], [6, 0]]


def test_spare_examples_are_lognormal():
    labels = np.zeros(1_000_000, dtype=np.uint8)
    partition = power_law(
        labels, 2_000, np.random.default_rng(0), classes_per_client=1, min_per_class=1, sigma=1.0
    )
    # Median share 300 examples, so rounding does not matter; deviation of a sample of 2,000: 1.6 %.
    logs = np.log(partition.sizes - 1.0)
    assert logs.std() == pytest.approx(1.0, rel=0.06)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"min_per_class": 6},
            "min_per_class=6 is not allowed: it must be at most 5, since class 1 has 20 examples "
            "for its 4 clients.",
        ),
        ({"min_per_class": 0}, "min_per_class=0 is not allowed: it must be a whole number of at"),
        (
            {"classes_per_client": 4},
            "classes_per_client=4 is not allowed: it must be at most the number of classes, 3.",
        ),
        ({"classes_per_client": 0}, "classes_per_client=0 is not allowed: it must be a whole num"),
        (
            {"num_clients": 1},
            "num_clients=1 is not allowed: it must be at least 2, so that each of the 3 classes "
            "has a holder.",
        ),
        ({"sigma": -1.0}, "sigma=-1.0 is not allowed: it must be a finite number of at least 0."),
        ({"sigma": np.nan}, "sigma=nan is not allowed: it must be a finite number of at least 0."),
    ],
)
def test_refuses(arguments, message):
    labels = np.repeat([0, 1, 2], [30, 20, 30])
    with pytest.raises(ValueError, match="is not allowed") as caught:
        power_law(labels, **({"num_clients": 6, "rng": np.random.default_rng(0)} | arguments))
    assert str(caught.value).startswith(message)


def test_refuses_a_class_without_examples():
    labels = np.repeat([0, 2], 30)
    message = "^min_per_class=5 is not allowed: it must be at most 0, since class 1 has 0 examples"
    with pytest.raises(ValueError, match=message):
        power_law(labels, 6, np.random.default_rng(0))
