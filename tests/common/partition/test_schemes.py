import numpy as np
import pytest

from common.errors import UserInputError
from common.partition import (
    dirichlet_over_clients,
    dirichlet_over_labels,
    iid,
    label_schemes,
    realise,
)

LABELS = np.arange(60) % 4


def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("iid", lambda: iid(60, 5, rng())),
        ("dirichlet_over_clients", lambda: dirichlet_over_clients(LABELS, 5, 0.5, rng(), 2)),
        ("dirichlet_over_labels", lambda: dirichlet_over_labels(LABELS, 5, 0.5, rng(), 2)),
    ],
)
def test_a_name_means_the_function_of_that_name(name, expected):
    found, wanted = realise(name, label_schemes(LABELS, 5, 0.5, 2, rng())), expected()
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_array_equal(found.offsets, wanted.offsets)


def test_what_is_not_possible_is_refused_with_the_schemes_name():
    with pytest.raises(UserInputError, match=r"^partition='iid' is not possible: num_clients=61"):
        realise("iid", label_schemes(LABELS, 61, 0.5, 0, rng()))
