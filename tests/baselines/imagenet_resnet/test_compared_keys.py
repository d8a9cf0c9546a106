import random

import pytest
from imagenet_resnet.compared_keys import ImageNetArmKeys, ImageNetPanelKeys
from imagenet_resnet.replication import REPLICATION
from imagenet_runs import CENTRALISED, FEDAVG, LOCAL_ONLY, make_run
from made_runs import make_results

from common.errors import UserInputError
from common.replication.comparison import compare

PROBE = CENTRALISED | {"trainable": "head"}
ZERO_SHOT = CENTRALISED | {"num_epochs": 0, "num_rounds": 1, "head": "keep"}
LINEAR = {"mu": 0.1, "mu_schedule": "linear"}
ADAPTIVE = {"mu": 0.0, "adaptive_mu": True}

# As they are sorted: anchors, FedAvg, fixed mu, schedules, adaptive mu.
ARMS = {
    "zero-shot": ZERO_SHOT,
    "local only, averaged once": LOCAL_ONLY,
    "linear probe on layer3": PROBE | {"num_stages": 3},
    "linear probe": PROBE,
    "centralised": CENTRALISED,
    "FedAvg": FEDAVG,
    "FedProx, μ = 0.001": {"mu": 0.001},
    "FedProx, μ = 0.01": {"mu": 0.01},
    "FedProx, μ = 0.1": {"mu": 0.1},
    "FedProx, μ = 1": {"mu": 1.0},
    "FedProx, μ = 10": {"mu": 10.0},
    "FedProx, μ = 0.1 to 0, linear": LINEAR,
    "FedProx, μ = 0.1 to 0, cosine": LINEAR | {"mu_schedule": "cosine"},
    "FedProx, adaptive μ from 0": ADAPTIVE,
}


def panels_of(*settings):
    """Compare some runs, given in any order."""
    runs = [make_run(**keys) for keys in settings]
    random.Random(0).shuffle(runs)
    return compare(REPLICATION, make_results(runs))


def test_arms_are_named_and_in_order():
    for name, keys in ARMS.items():
        arm = ImageNetArmKeys.model_validate(make_run(**keys).config)
        assert arm.name == name
        assert arm.is_reference == (not name.startswith("Fed"))
    (found,) = panels_of(*ARMS.values()).values()
    assert list(found) == list(ARMS)


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (FEDAVG | {"weighting": "examples"}, "FedAvg, weighted by n_k"),
        (FEDAVG | {"server_optimizer": "fedavgm"}, "FedAvg, FedAvgM"),
        ({"server_optimizer": "fedyogi"}, "FedProx, μ = 0.01, FedYogi"),
        ({"norm": "group"}, "FedProx, μ = 0.01, GroupNorm"),
        ({"norm": "frozen_batch"}, "FedProx, μ = 0.01, frozen BatchNorm"),
        ({"buffers": "keep"}, "FedProx, μ = 0.01, initial BatchNorm statistics"),
        (
            FEDAVG | {"weighting": "examples", "norm": "group", "server_optimizer": "fedadam"},
            "FedAvg, weighted by n_k, FedAdam, GroupNorm",
        ),
    ],
)
def test_what_is_not_as_in_the_earlier_benchmark_is_told(keys, name):
    assert ImageNetArmKeys.model_validate(make_run(**keys).config).name == name
    (found,) = panels_of({}, FEDAVG, keys).values()
    assert name in found
    assert len(found) == 3


def test_a_single_panel_is_told_by_data_and_partition():
    assert list(panels_of({})) == ["Imagenette, α = 0.1"]
    assert list(panels_of({"dataset": "imagenet_val"})) == ["ImageNet, validation images, α = 0.1"]
    assert list(panels_of({"partition": "iid", "dataset": "cifar10"})) == ["CIFAR-10, IID"]


def test_titles_of_several_tell_what_differs():
    assert list(panels_of({"dirichlet_alpha": 100.0}, {})) == ["α = 0.1", "α = 100"]
    assert list(panels_of({}, {"image_size": 64})) == ["64 pixels", "128 pixels"]
    assert list(panels_of({}, {"partition": "dirichlet_over_labels"})) == [
        "classes split",
        "mixes of labels",
    ]


def test_an_arm_may_be_in_some_panels_only():
    found = panels_of({}, FEDAVG, {"dirichlet_alpha": 100.0})
    assert {title: list(arms) for title, arms in found.items()} == {
        "α = 0.1": ["FedAvg", "FedProx, μ = 0.01"],
        "α = 100": ["FedProx, μ = 0.01"],
    }


def test_settings_that_a_figure_cannot_tell_apart_are_refused():
    with pytest.raises(UserInputError) as caught:
        panels_of(FEDAVG, FEDAVG | {"mu": 1.0})
    assert str(caught.value) == (
        "RUNS hold 'FedAvg' with several values of mu: there must be one, for a figure cannot tell "
        "them apart."
    )
    with pytest.raises(UserInputError, match=r"^RUNS hold 'FedAvg' with several values of num_ro"):
        panels_of(FEDAVG, FEDAVG | {"num_rounds": 100})


@pytest.mark.parametrize(
    ("schema", "keys"),
    [
        (ImageNetArmKeys, {"algorithm": "sgd"}),
        (ImageNetArmKeys, {"mu": -1.0}),
        (ImageNetArmKeys, {"mu_schedule": "step"}),
        (ImageNetArmKeys, {"num_rounds": 0}),
        (ImageNetArmKeys, {"server_optimizer": "$\\frac$"}),
        (ImageNetPanelKeys, {"dataset": "mars"}),
        (ImageNetPanelKeys, {"dirichlet_alpha": float("inf")}),
        (ImageNetPanelKeys, {"image_size": "large"}),
    ],
)
def test_a_configuration_that_cannot_be_compared_is_refused(schema, keys):
    ((key, value),) = keys.items()
    with pytest.raises(UserInputError) as caught:
        make_run(**keys).config_as(schema)
    assert str(caught.value).startswith(
        f"{key}={value!r} in 'run/config.yaml' is not allowed: it must be "
    )
