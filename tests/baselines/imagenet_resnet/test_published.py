import numpy as np
import pandas as pd
import pytest
import yaml
from imagenet_resnet.figures import FIGURES
from imagenet_resnet.replication import REPLICATION
from imagenet_runs import FEDAVG, make_arm
from made_runs import make_results

from common.replication.published import published_curve

FILES = sorted(REPLICATION.published.glob("*.csv"))
CELLS = [
    ({"algorithm": algorithm, "mu": mu, "dirichlet_alpha": alpha}, accuracy)
    for algorithm, mu, alpha, accuracy in (
        ("fedavg", 0.0, 0.1, 0.5670),
        ("fedprox", 0.01, 0.1, 0.5618),
        ("fedavg", 0.0, 100.0, 0.5866),
        ("fedprox", 0.01, 100.0, 0.5816),
    )
]


def curve_of(experiment="published", metric="test_accuracy", **keys):
    arm = make_results(make_arm([(0.5,), (0.5,)], **keys))
    return published_curve(REPLICATION, experiment, metric, arm)


@pytest.mark.parametrize(("keys", "accuracy"), CELLS)
def test_a_curve_is_that_of_its_cell(keys, accuracy):
    """It ends with the number of the table, which the claims are about."""
    found = curve_of(**keys)
    np.testing.assert_array_equal(found.rounds, range(1, 21))
    assert ((found.values > 0) & (found.values < 0.6)).all()
    assert found.values[-1] == accuracy
    references = [
        claim.get("reference") for claim in yaml.safe_load(REPLICATION.claims.read_text())
    ]
    assert accuracy in references


def test_the_curves_differ():
    curves = [curve_of(**keys).values for keys, _ in CELLS]
    assert len(np.unique(curves, axis=0)) == 4


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_holds_curves_of_arms_of_an_experiment(file):
    assert file.stem in FIGURES
    table = pd.read_csv(file)
    assert not table.isna().any(axis=None)
    keys = [column for column in table if column not in ("round", "test_accuracy")]
    assert {*keys} <= {*REPLICATION.compared_keys}


@pytest.mark.parametrize(
    "keys",
    [
        {"experiment": "mu_grid"},
        {"metric": "drift"},
        {"dirichlet_alpha": 1.0},
        {"mu": 0.1},
        FEDAVG | {"weighting": "examples"},
        FEDAVG | {"num_rounds": 100},
        FEDAVG | {"trainable": "head"},
    ],
    ids=str,
)
def test_what_nobody_published_is_none(keys):
    assert curve_of(**{"dirichlet_alpha": 0.1} | keys) is None
