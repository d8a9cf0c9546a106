import csv

import numpy as np
import pandas as pd
import pytest
from fedprox.compared_keys import FedProxArmKeys, FedProxPanelKeys
from fedprox.figures import FIGURES
from fedprox.metrics import METRICS
from fedprox.replication import REPLICATION
from fedprox_runs import CONFIG, FEDAVG, make_arm, make_run
from made_runs import make_results

from common.replication.published import published_curve

FILES = sorted(REPLICATION.published.glob("*.csv"))
IID = {"dataset": "synthetic_iid", "stragglers_fraction": 0.0}
HALF = {
    "dataset": "synthetic", "synthetic_alpha": 0.5, "synthetic_beta": 0.5,
    "stragglers_fraction": 0.0,
}  # fmt: skip
ONE = HALF | {"synthetic_alpha": 1.0, "synthetic_beta": 1.0}


def arm(**keys):
    return make_results(make_arm([(0.5,), (0.5,)], **keys))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_holds_curves_of_arms_of_an_experiment(file):
    assert file.stem in FIGURES
    table = pd.read_csv(file)
    bounds = {metric.name: metric.bounds for metric in METRICS if metric.name in table}
    metrics = list(bounds)
    keys = [column for column in table if column not in ("round", *metrics)]
    assert metrics
    assert {*keys} <= {*REPLICATION.compared_keys}
    assert not table[[*keys, "round"]].isna().any(axis=None)
    for metric, (low, high) in bounds.items():
        assert table[metric].dropna().between(low, high).all()
    for values, curve in table.groupby(keys):
        run = make_run(**dict(zip(keys, values, strict=True)))
        run.config_as(FedProxPanelKeys)
        run.config_as(FedProxArmKeys)
        assert (curve["round"].diff().dropna() > 0).all()
        assert len(curve) > 20
        assert curve[metrics].notna().any(axis=None)


def test_there_are_files():
    assert {file.stem for file in FILES} >= {"figure1_synthetic", "flower_mnist"}


def is_of(row, config):
    """Whether a line of a file, read as text, is of an arm."""
    compared = [key for key in row if key in config]
    return all(
        row[key] == config[key] if isinstance(config[key], str) else float(row[key]) == config[key]
        for key in compared
    )


@pytest.mark.parametrize(
    ("experiment", "metric", "keys"),
    [
        ("figure1_synthetic", "test_accuracy", FEDAVG | {"stragglers_fraction": 0.9}),
        ("figure1_synthetic", "train_loss", FEDAVG | {"stragglers_fraction": 0.0}),
        ("figure1_synthetic", "test_accuracy", {"mu": 0.0, "stragglers_fraction": 0.5}),
        ("figure1_synthetic", "train_loss", {"mu": 1.0, "stragglers_fraction": 0.9}),
        ("figure2", "test_accuracy", IID | {"mu": 0.0}),
        ("figure2", "train_loss", HALF | {"mu": 1.0}),
        ("figure2", "dissimilarity", ONE | {"mu": 0.0}),
        ("flower_mnist", "test_accuracy", {"mu": 2.0, "stragglers_fraction": 0.9}),
        ("flower_mnist", "test_accuracy", {"mu": 0.0, "stragglers_fraction": 0.0}),
    ],
)
def test_a_curve_is_that_of_its_arm(experiment, metric, keys):
    with (REPLICATION.published / f"{experiment}.csv").open(newline="") as file:
        expected = [
            (int(row["round"]), float(row[metric]))
            for row in csv.DictReader(file)
            if is_of(row, CONFIG | keys) and row[metric] != ""
        ]
    found = published_curve(REPLICATION, experiment, metric, arm(**keys))
    assert len(expected) >= 20
    np.testing.assert_array_equal(np.transpose([found.rounds, found.values]), expected)


def test_curves_of_several_arms_differ():
    settings = [FEDAVG | {"stragglers_fraction": p} for p in (0.0, 0.5, 0.9)]
    settings += [{"mu": mu, "stragglers_fraction": 0.9} for mu in (0.0, 1.0)]
    curves = [
        published_curve(REPLICATION, "figure1_synthetic", "test_accuracy", arm(**keys))
        for keys in settings
    ]
    values = np.array([curve.values for curve in curves])
    assert len(np.unique(values, axis=0)) == len(settings)


@pytest.mark.parametrize(
    ("experiment", "metric", "keys"),
    [
        ("figure", "test_accuracy", {}),  # Nobody's experiment.
        ("", "test_accuracy", {}),
        ("figure1_mnist", "test_accuracy", {}),
        ("figure1_synthetic", "test_accuracy", {"mu": 0.5}),
        ("figure1_synthetic", "test_accuracy", {"stragglers_fraction": 0.7}),
        ("figure1_synthetic", "test_accuracy", {"adaptive_mu": True}),
        ("figure1_synthetic", "dissimilarity", {}),
        ("figure2", "dissimilarity", IID | {"mu": 0.0}),
        ("figure2", "test_accuracy", {"stragglers_fraction": 0.0}),  # MNIST.
        ("flower_mnist", "train_loss", {"mu": 2.0}),
    ],
)
def test_what_nobody_published_is_none(experiment, metric, keys):
    assert published_curve(REPLICATION, experiment, metric, arm(**keys)) is None
