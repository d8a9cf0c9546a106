from dataclasses import replace

import numpy as np
import pytest
from made_runs import make_results
from toy_replication import AVG, TOY, make_arm

from common.replication.published import published_curve

FILE = """alpha,mu,round,test_accuracy,train_loss
0.5,0.0,0,0.1,
0.5,0.0,10,0.4,1.5
0.5,1.0,0,0.2,
0.5,1.0,10,0.5,1.25
"""


@pytest.fixture
def toy(tmp_path):
    """The toy with a file of curves, which has no column of the algorithm: it is the default."""
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "first.csv").write_text(FILE)
    defaults = '[tool.flwr.app.config]\nalgorithm = "prox"\nmu = 5.0\n'
    (tmp_path / "pyproject.toml").write_text(defaults)
    return replace(TOY, folder=tmp_path)


def arm(**keys):
    return make_results(make_arm([(0.5,), (0.5,)], **keys))


@pytest.mark.parametrize(
    ("metric", "keys", "rounds", "values"),
    [
        ("test_accuracy", {"mu": 0.0}, [0, 10], [0.1, 0.4]),
        ("test_accuracy", {"mu": 1.0}, [0, 10], [0.2, 0.5]),
        ("train_loss", {"mu": 1.0}, [10], [1.25]),  # What is not given is left out.
    ],
)
def test_a_curve_is_that_of_its_arm(toy, metric, keys, rounds, values):
    found = published_curve(toy, "first", metric, arm(**keys))
    np.testing.assert_array_equal(found.rounds, rounds)
    np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize(
    ("experiment", "metric", "keys"),
    [
        ("second", "test_accuracy", {}),
        ("figure", "test_accuracy", {}),  # Nobody's experiment.
        ("", "test_accuracy", {}),
        ("first", "drift", {}),
        ("first", "test_accuracy", {"mu": 0.5}),
        ("first", "test_accuracy", {"alpha": 0.1}),
        ("first", "test_accuracy", AVG),  # Of the default algorithm only.
    ],
)
def test_what_nobody_published_is_none(toy, experiment, metric, keys):
    assert published_curve(toy, experiment, metric, arm(**keys)) is None
