"""What every scheme promises, whatever it is called."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserInputError
from common.partition import (
    Partition,
    dirichlet_over_clients,
    dirichlet_over_labels,
    iid,
    power_law,
    quantity_skew,
    shards,
)

Scheme = Callable[[np.ndarray, int, np.random.Generator], Partition]

SCHEMES: dict[str, Scheme] = {
    "iid": lambda labels, n, rng: iid(len(labels), n, rng),
    "shards": lambda labels, n, rng: shards(labels, n, rng, shards_per_client=1),
    "power_law": lambda labels, n, rng: power_law(
        labels, n, rng, classes_per_client=len(np.unique(labels)), min_per_class=1
    ),
    "dirichlet_over_clients": lambda labels, n, rng: dirichlet_over_clients(labels, n, 0.3, rng),
    "dirichlet_over_clients_topped_up": lambda labels, n, rng: dirichlet_over_clients(
        labels, n, 0.1, rng, min_partition_size=1
    ),
    "dirichlet_over_labels": lambda labels, n, rng: dirichlet_over_labels(labels, n, 0.3, rng),
    "quantity_skew": lambda labels, n, rng: quantity_skew(len(labels), n, 1.5, rng),
}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)


@st.composite
def labels_and_clients(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Any labels with each class at least as large as the number of clients, which suits all."""
    num_clients = draw(st.integers(1, 12))
    class_sizes = draw(st.lists(st.integers(num_clients, 40), min_size=1, max_size=6))
    labels = np.repeat(np.arange(len(class_sizes)), class_sizes)
    return np.random.default_rng(draw(st.integers(0, 2**32))).permutation(labels), num_clients


@every_scheme
@settings(max_examples=30)
@given(labels_and_clients(), st.integers(0, 2**32 - 1))
def test_gives_every_example_exactly_once_to_the_clients_asked_for(scheme, case, seed):
    labels, num_clients = case
    partition = scheme(labels, num_clients, np.random.default_rng(seed))
    assert partition.num_clients == num_clients
    assert partition.offsets[0] == 0
    assert partition.offsets[-1] == len(labels)
    assert np.array_equal(np.sort(partition.indices), np.arange(len(labels)))
    assert partition.indices.dtype == partition.offsets.dtype == np.int64
    for client in range(num_clients):
        assert (np.diff(partition.client(client)) > 0).all()


@every_scheme
def test_depends_on_the_seed_and_on_nothing_else(scheme):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100))
    labels_before = labels.copy()
    first = scheme(labels, 20, np.random.default_rng(1))
    # Any use of the global state would show now.
    np.random.seed(5)
    state_before = np.random.get_state()[1].copy()
    again = scheme(labels, 20, np.random.default_rng(1))
    other = scheme(labels, 20, np.random.default_rng(2))
    assert np.array_equal(first.indices, again.indices)
    assert np.array_equal(first.offsets, again.offsets)
    assert not np.array_equal(first.indices, other.indices)
    assert np.array_equal(np.random.get_state()[1], state_before)
    assert np.array_equal(labels, labels_before)


@every_scheme
def test_accepts_any_integer_type_and_treats_it_alike(scheme):
    labels = np.repeat(np.arange(4), 30)
    wide = scheme(labels, 7, np.random.default_rng(3))
    narrow = scheme(labels.astype(np.uint8), 7, np.random.default_rng(3))
    assert np.array_equal(wide.indices, narrow.indices)


@every_scheme
def test_refuses_impossible_numbers_of_clients(scheme):
    labels = np.repeat(np.arange(2), 5)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"^num_clients=0 is not allowed: it must be a whole "):
        scheme(labels, 0, rng)
    with pytest.raises(ValueError, match=r"^num_clients=2\.5 is not allowed: it must be a whole "):
        scheme(labels, 2.5, rng)
    message = r"^num_clients=11 is not allowed: it must be at most the number of examples, 10\.$"
    with pytest.raises(UserInputError, match=message):
        scheme(labels, 11, rng)
    untouched = np.random.default_rng(0)
    assert rng.random() == untouched.random(), "refused after it had begun to draw"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((2, 3), int), "labels.shape=(2, 3) is not allowed: it must be one-dimensional"),
        (np.zeros(0, int), "labels.shape=(0,) is not allowed: it must be one-dimensional"),
        (np.zeros(4), "labels.dtype=float64 is not allowed: it must be an integer type."),
        (np.array([0, -3]), "labels.min()=-3 is not allowed: it must be at least 0."),
    ],
)
@pytest.mark.parametrize("name", [name for name in SCHEMES if name not in ("iid", "quantity_skew")])
def test_refuses_what_are_not_labels(name, labels, message):
    with pytest.raises(UserInputError) as caught:
        SCHEMES[name](labels, 1, np.random.default_rng(0))
    assert str(caught.value).startswith(message)


def test_is_pure_numpy():
    code = (
        "import sys, common.partition;"
        "print(sorted({'torch', 'flwr', 'ray', 'matplotlib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
