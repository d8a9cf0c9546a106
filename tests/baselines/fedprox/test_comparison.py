import random

import pytest
from fedprox.comparison import MOST_PANELS, ArmKeys, PanelKeys, compare
from fedprox_runs import FEDAVG, make_arm, make_results, make_run

from common.errors import UserInputError

IID = {"dataset": "synthetic_iid"}


def synthetic(alpha, beta):
    return {"dataset": "synthetic", "synthetic_alpha": alpha, "synthetic_beta": beta}


def titles(*settings):
    """Return the titles of the panels of some runs, given in any order."""
    runs = [make_run(**keys) for keys in settings]
    random.Random(0).shuffle(runs)
    return list(compare(make_results(runs)))


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
    assert ArmKeys.model_validate(make_run(**keys).config).name == name


def test_arms_are_fedavg_then_fixed_mu_rising_then_adaptive():
    arms = [
        FEDAVG,
        *({"mu": mu} for mu in (0.0, 0.001, 0.01, 0.1, 1.0, 10.0)),
        *({"mu": mu, "adaptive_mu": True} for mu in (0.0, 1.0)),
    ]
    runs = [make_run(**keys) for keys in arms]
    names = [ArmKeys.model_validate(run.config).name for run in runs]
    random.Random(0).shuffle(runs)
    (found,) = compare(make_results(runs)).values()
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


def test_every_run_is_in_the_arm_that_its_configuration_says():
    """The accuracy tells the arm, and the second round the seed."""
    settings = [
        {"stragglers_fraction": p} | method
        for p in (0.0, 0.9)
        for method in (FEDAVG, {"mu": 0.0}, {"mu": 0.0, "adaptive_mu": True})
    ]
    runs = [
        make_run((code / 8, seed / 8), seed=seed, **keys)
        for code, keys in enumerate(settings)
        for seed in (2, 0, 1)
    ]
    panels = compare(make_results(runs))
    arms = [arm for panel in panels.values() for arm in panel.values()]
    assert [arm.seeds for arm in arms] == [[0, 1, 2]] * 6
    found = [arm.curves("test_accuracy").tolist() for arm in arms]
    assert found == [[[code / 8, seed / 8] for seed in range(3)] for code in range(6)]


def refusal(runs):
    with pytest.raises(UserInputError) as caught:
        compare(make_results(runs))
    return str(caught.value)


def test_runs_of_an_arm_that_differ_in_more_than_the_seed_are_refused():
    message = refusal([make_run(seed=0), make_run(seed=1, num_epochs=10)])
    assert message.startswith("dataset='mnist', ")
    assert message.endswith(
        ", mu=1.0, adaptive_mu=False is not allowed: an arm's runs must differ in seed only, but "
        "num_epochs is 10 or 20."
    )
    assert "one run of a seed, but has several of seed 3." in refusal([make_run(seed=3)] * 2)


def test_runs_of_an_arm_may_differ_in_what_changes_no_result():
    runs = [make_run(seed=0), make_run(seed=1, engine="ray")]
    assert compare(make_results(runs))["MNIST, 90 % stragglers"]["FedProx, μ = 1"].seeds == [0, 1]


def test_more_panels_than_a_figure_can_have_are_refused():
    runs = [make_run(stragglers_fraction=i / 100) for i in range(MOST_PANELS + 1)]
    assert len(compare(make_results(runs[1:]))) == MOST_PANELS
    message = refusal(runs)
    assert message.startswith("RUNS hold 21 settings of dataset, synthetic_alpha, ")
    assert message.endswith(": there must be at most 20, which have a panel each.")


def test_settings_that_a_figure_cannot_tell_apart_are_refused_rather_than_left_out():
    assert refusal(make_arm([(0.1,)], algorithm="fedavg") + make_arm([(0.2,)], **FEDAVG)) == (
        "RUNS hold 'FedAvg, stragglers dropped' with several values of mu: there must be one, for "
        "a figure cannot tell them apart."
    )
    assert refusal([make_run(synthetic_alpha=alpha) for alpha in (0.5, 1.0)]) == (
        "RUNS hold 'MNIST, 90 % stragglers' with several values of synthetic_alpha: there must be "
        "one, for a figure cannot tell them apart."
    )


@pytest.mark.parametrize(
    ("schema", "keys"),
    [
        (ArmKeys, {"algorithm": "sgd"}),
        (ArmKeys, {"mu": -1.0}),
        (ArmKeys, {"mu": float("inf")}),
        (ArmKeys, {"adaptive_mu": "yes"}),
        (PanelKeys, {"dataset": "mars"}),
        (PanelKeys, {"partition": "$\\frac$"}),
        (PanelKeys, {"normalisation": "per_image"}),
        (PanelKeys, {"stragglers_fraction": 1e308}),
        (PanelKeys, {"synthetic_alpha": -0.5}),
    ],
)
def test_a_configuration_that_cannot_be_compared_is_refused(schema, keys):
    ((key, value),) = keys.items()
    with pytest.raises(UserInputError) as caught:
        make_run(**keys).config_as(schema)
    assert str(caught.value).startswith(
        f"{key}={value!r} in 'run/config.yaml' is not allowed: it must be "
    )
