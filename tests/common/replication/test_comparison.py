import random

import pytest
from made_runs import make_results
from toy_replication import AVG, DRIFT, PANEL, POOLED, RATE, TOY, make_run

from common.errors import UserInputError
from common.replication.comparison import MOST_PANELS, arms_with, by_metric, compare
from common.replication.metrics import TEST_ACCURACY, TRAIN_LOSS


def panels_of(*runs):
    return compare(TOY, make_results(runs))


def titles(*settings):
    """Return the titles of the panels of some runs, given in any order."""
    runs = [make_run(**keys) for keys in settings]
    random.Random(0).shuffle(runs)
    return list(panels_of(*runs))


def test_panels_and_arms_are_in_the_order_that_the_baseline_gives_them():
    alphas = [{"alpha": alpha} for alpha in (0.05, 0.1, 0.5, 1.0, 10.0, 100.0)]
    assert titles(*alphas) == [f"alpha = {a}" for a in ("0.05", "0.1", "0.5", "1", "10", "100")]
    arms = [AVG, POOLED, *({"mu": mu} for mu in (0.0, 0.001, 0.1, 1.0, 10.0))]
    runs = [make_run(**keys) for keys in arms]
    random.Random(0).shuffle(runs)
    (found,) = panels_of(*runs).values()
    fixed = [f"FedProx, μ = {mu}" for mu in ("0", "0.001", "0.1", "1", "10")]
    assert list(found) == ["FedAvg", "pooled data", *fixed]


def test_titles_tell_what_differs_and_nothing_else():
    assert titles({"dataset": "hills"}, {"dataset": "plains"}) == ["Hills", "Plains"]
    assert titles({"alpha": 0.1}, {"alpha": 2.0}) == ["alpha = 0.1", "alpha = 2"]
    assert titles(
        *({"dataset": data, "alpha": alpha} for data in ("hills", "plains") for alpha in (1.0, 2.0))
    ) == ["Hills, alpha = 1", "Hills, alpha = 2", "Plains, alpha = 1", "Plains, alpha = 2"]


def test_titles_leave_out_what_has_no_meaning():
    assert titles({"dataset": "hills"}, {"dataset": "plains", "alpha": 1000.0}) == [
        "Hills, alpha = 0.5",
        "Plains",
    ]


def test_the_title_of_a_single_panel_is_its_name():
    assert titles({"alpha": 0.1}) == ["Hills"]


def test_every_run_is_in_the_arm_that_its_configuration_says():
    """The accuracy tells the arm, and the second round the seed."""
    settings = [
        {"alpha": alpha} | method
        for alpha in (0.1, 1.0)
        for method in (AVG, {"mu": 0.0}, {"mu": 1.0})
    ]
    runs = [
        make_run((code / 8, seed / 8), seed=seed, **keys)
        for code, keys in enumerate(settings)
        for seed in (2, 0, 1)
    ]
    arms = [arm for panel in panels_of(*runs).values() for arm in panel.values()]
    assert [arm.seeds for arm in arms] == [[0, 1, 2]] * 6
    found = [arm.curves("test_accuracy").tolist() for arm in arms]
    assert found == [[[code / 8, seed / 8] for seed in range(3)] for code in range(6)]


def test_arms_may_be_in_some_panels_only_and_have_another_number_of_rounds():
    panels = panels_of(
        make_run((0.1, 0.2, 0.3), alpha=0.1),
        make_run((0.1, 0.2, 0.3), alpha=1.0),
        make_run((0.5,), alpha=1.0, **POOLED),
    )
    shapes = {
        title: {name: runs.curves("test_accuracy").shape for name, runs in arms.items()}
        for title, arms in panels.items()
    }
    assert shapes == {
        "alpha = 0.1": {"FedProx, μ = 1": (1, 3)},
        "alpha = 1": {"FedProx, μ = 1": (1, 3), "pooled data": (1, 1)},
    }


def refusal(runs):
    with pytest.raises(UserInputError) as caught:
        panels_of(*runs)
    return str(caught.value)


def test_runs_of_an_arm_that_differ_in_more_than_the_seed_are_refused():
    assert refusal([make_run(seed=0), make_run(seed=1, num_epochs=1)]) == (
        "dataset='hills', alpha=0.5, algorithm='prox', mu=1.0 is not allowed: an arm's runs must "
        "differ in seed only, but num_epochs is 1 or 2."
    )
    assert "one run of a seed, but has several of seed 3." in refusal([make_run(seed=3)] * 2)


def test_runs_of_an_arm_may_differ_in_what_changes_no_result():
    panels = panels_of(make_run(seed=0), make_run(seed=1, engine="ray"))
    assert panels[PANEL]["FedProx, μ = 1"].seeds == [0, 1]


def test_more_panels_than_a_figure_can_have_are_refused():
    runs = [make_run(alpha=1.0 + i) for i in range(MOST_PANELS + 1)]
    assert len(panels_of(*runs[1:])) == MOST_PANELS
    assert refusal(runs) == (
        "RUNS hold 21 settings of dataset, alpha: there must be at most 20, which have a panel "
        "each."
    )


def test_settings_that_a_figure_cannot_tell_apart_are_refused_rather_than_left_out():
    assert refusal([make_run(**AVG), make_run(algorithm="avg")]) == (
        "RUNS hold 'FedAvg' with several values of mu: there must be one, for a figure cannot tell "
        "them apart."
    )
    assert refusal([make_run(alpha=alpha) for alpha in (0.1, 0.10000000001)]) == (
        "RUNS hold 'Hills' with several values of alpha: there must be one, for a figure cannot "
        "tell them apart."
    )


BOTH = {"train_loss": (1.0, 0.5), "drift": (2.0, 1.0)}


def shown(panels):
    return list(by_metric(panels, TOY.metrics))


def test_a_metric_is_shown_where_an_arm_recorded_it_in_all_runs():
    assert shown(panels_of(make_run())) == [TEST_ACCURACY]
    both = panels_of(make_run(metrics=BOTH))
    assert shown(both) == [TRAIN_LOSS, TEST_ACCURACY, DRIFT]
    without = BOTH | {"drift": (None, None)}
    one_seed_without = panels_of(make_run(metrics=BOTH), make_run(metrics=without, seed=1))
    assert shown(one_seed_without) == [TRAIN_LOSS, TEST_ACCURACY]


def test_arms_without_a_metric_are_left_out_of_it():
    """Pooled data have no clients that drift, and recorded another number of rounds."""
    panels = panels_of(make_run(metrics=BOTH), make_run((0.5,), **POOLED))
    assert {title: list(arms) for title, arms in arms_with(panels, DRIFT).items()} == {
        PANEL: ["FedProx, μ = 1"]
    }
    assert arms_with(panels, TEST_ACCURACY) == panels


def test_every_arm_has_a_test_accuracy_even_if_it_is_unknown():
    panels = panels_of(make_run((None, None)))
    assert shown(panels) == [TEST_ACCURACY]
    assert arms_with(panels, TEST_ACCURACY) == panels


@pytest.mark.parametrize(
    ("rates", "is_shown"),
    [
        ((0.5, 0.5), False),
        ((None, 0.5), False),
        ((0.5, 0.25), True),
    ],
)
def test_a_metric_that_says_nothing_while_it_stays_the_same_is_shown_if_it_varies(rates, is_shown):
    constant = make_run(metrics={"rate": (0.5, 0.5)}, **AVG)
    panels = panels_of(constant, make_run(metrics={"rate": rates}))
    assert (RATE in shown(panels)) == is_shown
    # Then also of the arms where it does not.
    assert list(arms_with(panels, RATE)[PANEL]) == ["FedAvg", "FedProx, μ = 1"][: 2 * is_shown]
