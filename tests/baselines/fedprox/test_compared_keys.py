import random

import pytest
from fedprox.compared_keys import FedProxArmKeys, FedProxPanelKeys
from fedprox.replication import REPLICATION
from fedprox_runs import FEDAVG, make_arm, make_run
from made_runs import make_results

from common.errors import UserInputError
from common.replication.comparison import compare

IID = {"dataset": "synthetic_iid"}


def synthetic(alpha, beta):
    return {"dataset": "synthetic", "synthetic_alpha": alpha, "synthetic_beta": beta}


def panels_of(runs):
    return compare(REPLICATION, make_results(runs))


def titles(*settings):
    """Return the titles of the panels of some runs, given in any order."""
    runs = [make_run(**keys) for keys in settings]
    random.Random(0).shuffle(runs)
    return list(panels_of(runs))


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (FEDAVG, "FedAvg, stragglers dropped"),
        ({"mu": 0.0}, "FedProx, μ = 0"),
        ({"mu": 0.001}, "FedProx, μ = 0.001"),
        ({"mu": 0.12345678}, "FedProx, μ = 0.12345678"),
        ({"mu": 1.0, "adaptive_mu": True}, "FedProx, adaptive μ from 1"),
    ],
)
def test_arms_are_named_as_in_the_paper(keys, name):
    assert FedProxArmKeys.model_validate(make_run(**keys).config).name == name


def test_arms_are_fedavg_then_fixed_mu_rising_then_adaptive():
    arms = [
        FEDAVG,
        *({"mu": mu} for mu in (0.0, 0.001, 0.01, 0.1, 1.0, 10.0)),
        *({"mu": mu, "adaptive_mu": True} for mu in (0.0, 1.0)),
    ]
    runs = [make_run(**keys) for keys in arms]
    names = [FedProxArmKeys.model_validate(run.config).name for run in runs]
    random.Random(0).shuffle(runs)
    (found,) = panels_of(runs).values()
    assert list(found) == names


def test_panels_go_from_iid_to_ever_more_heterogeneous_data():
    data = [IID, synthetic(0.0, 0.0), synthetic(1.0, 0.0), synthetic(0.5, 0.5), synthetic(1.0, 1.0)]
    assert titles(*data) == [
        "Synthetic-IID",
        "Synthetic(0, 0)",
        "Synthetic(1, 0)",
        "Synthetic(0.5, 0.5)",
        "Synthetic(1, 1)",
    ]


def test_panels_go_from_few_stragglers_to_many():
    fractions = [{"stragglers_fraction": p} for p in (0.0, 0.05, 0.1, 0.5, 0.9, 1.0)]
    assert titles(*fractions) == [
        f"{p} % stragglers" for p in ("0", "5", "10", "50", "90", "100")
    ]  # By number, not by letter.


def test_titles_tell_what_differs_and_nothing_else():
    assert titles({"partition": "iid"}, {"partition": "shards"}) == ["IID", "2 shards a client"]
    assert titles({"partition": "power_law"}, {"partition": "quantity_skew"}) == [
        "power law",
        "quantity_skew",
    ]
    assert titles({}, {"dataset": "femnist"}) == ["FEMNIST", "MNIST"]
    assert titles({"normalisation": "per_pixel"}, {"normalisation": "global"}) == [
        "normalisation=global",
        "normalisation=per_pixel",
    ]
    assert titles(
        *(data | {"stragglers_fraction": p} for data in (IID, synthetic(1, 1)) for p in (0.0, 0.9))
    ) == [
        "Synthetic-IID, 0 % stragglers",
        "Synthetic-IID, 90 % stragglers",
        "Synthetic(1, 1), 0 % stragglers",
        "Synthetic(1, 1), 90 % stragglers",
    ]


def test_the_title_of_a_single_panel_tells_data_and_stragglers():
    assert titles({}) == ["MNIST, 90 % stragglers"]
    assert titles(synthetic(0.5, 1) | {"stragglers_fraction": 0.0}) == [
        "Synthetic(0.5, 1), 0 % stragglers"
    ]


def test_settings_that_a_figure_cannot_tell_apart_are_refused_rather_than_left_out():
    with pytest.raises(UserInputError) as caught:
        panels_of(make_arm([(0.1,)], algorithm="fedavg") + make_arm([(0.2,)], **FEDAVG))
    assert str(caught.value) == (
        "RUNS hold 'FedAvg, stragglers dropped' with several values of mu: there must be one, for "
        "a figure cannot tell them apart."
    )
    with pytest.raises(UserInputError, match=r"^RUNS hold 'MNIST, 90 % stragglers' with several "):
        panels_of([make_run(synthetic_alpha=alpha) for alpha in (0.5, 1.0)])


@pytest.mark.parametrize(
    ("schema", "keys"),
    [
        (FedProxArmKeys, {"algorithm": "sgd"}),
        (FedProxArmKeys, {"mu": -1.0}),
        (FedProxArmKeys, {"mu": float("inf")}),
        (FedProxArmKeys, {"adaptive_mu": "yes"}),
        (FedProxPanelKeys, {"dataset": "mars"}),
        (FedProxPanelKeys, {"partition": "$\\frac$"}),
        (FedProxPanelKeys, {"normalisation": "per_image"}),
        (FedProxPanelKeys, {"stragglers_fraction": 1e308}),
        (FedProxPanelKeys, {"synthetic_alpha": -0.5}),
    ],
)
def test_a_configuration_that_cannot_be_compared_is_refused(schema, keys):
    ((key, value),) = keys.items()
    with pytest.raises(UserInputError) as caught:
        make_run(**keys).config_as(schema)
    assert str(caught.value).startswith(
        f"{key}={value!r} in 'run/config.yaml' is not allowed: it must be "
    )
