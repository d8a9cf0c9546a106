import pytest
from imagenet_resnet.anchors import anchor_parts
from imagenet_resnet.replication import REPLICATION
from imagenet_runs import CENTRALISED, FEDAVG, LOCAL_ONLY, make_arm, make_run
from made_runs import make_results

IID = {"dirichlet_alpha": 100.0}
OF_CLIENTS = {"client_test_accuracy": (0.4,), "worst_client_test_accuracy": (0.25,)}


def rounds(*last_ten):
    """Return a curve for every value, which holds for all rounds but the first two."""
    return [(0.0, 1.0, *[value] * 10) for value in last_ten]


def cells(text):
    """Return a table without the blanks that make its columns line up."""
    table = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines()]
    return table[:1] + table[2:]


def local_only(*accuracies, **keys):
    return [
        make_run((accuracy,), metrics=OF_CLIENTS, seed=seed, **LOCAL_ONLY | keys)
        for seed, accuracy in enumerate(accuracies)
    ]


def test_fedavg_stands_beside_each_anchor_seed_by_seed():
    """Half a 95 % interval of two seeds is 12.7062 s / sqrt(2).

    FedAvg: 60 and 62, mean 61, s 1.414. To centralised, 70 and 73: -10 and -11, mean -10.5,
    s 0.707.
    """
    results = make_results(
        make_arm(rounds(0.60, 0.62), **FEDAVG),
        make_arm(rounds(0.70, 0.73), **CENTRALISED),
        make_arm(rounds(0.5, 0.5)),  # FedProx.
        local_only(0.30, 0.32),
    )
    parts = anchor_parts(REPLICATION, {"mu_grid": results})
    assert cells(parts["anchors_mu_grid"]) == [
        ["test accuracy (%)", "Imagenette, α = 0.1", "FedAvg has more"],
        ["local only, worst client", "25.0 ± 0.0", "+36.0 ± 12.7"],
        ["local only, mean over clients", "40.0 ± 0.0", "+21.0 ± 12.7"],
        ["local only, models averaged once", "31.0 ± 12.7", "+30.0 ± 0.0"],
        ["centralised, all data in one place", "71.5 ± 19.1", "-10.5 ± 6.4"],
        ["FedAvg", "61.0 ± 12.7", ""],
    ]


def test_an_anchor_may_be_in_some_panels_only():
    results = make_results(
        make_arm(rounds(0.5), **FEDAVG),
        make_arm(rounds(0.75), **FEDAVG | IID),
        make_arm(rounds(0.5), **CENTRALISED | IID),
    )
    parts = anchor_parts(REPLICATION, {"mu_grid": results})
    assert cells(parts["anchors_mu_grid"]) == [
        ["test accuracy (%)", "α = 0.1", "FedAvg has more", "α = 100", "FedAvg has more"],
        ["centralised, all data in one place", "", "", "50.0", "+25.0"],
        ["FedAvg", "50.0", "", "75.0", ""],
    ]


@pytest.mark.parametrize("of_fedavg", [rounds(0.5, 0.5, 0.5), []])
def test_without_the_same_seeds_there_is_no_difference(of_fedavg):
    results = make_results(
        make_arm(of_fedavg, **FEDAVG), make_arm(rounds(0.7, 0.7), **CENTRALISED), local_only(0.3)
    )
    table = cells(anchor_parts(REPLICATION, {"mu_grid": results})["anchors_mu_grid"])
    assert {row[2] for row in table[1:]} == {""}


def test_every_experiment_has_a_part_even_before_it_is_run():
    results = make_results(make_arm(rounds(0.5), **FEDAVG))
    parts = anchor_parts(REPLICATION, {"published": results})
    assert parts.keys() == {f"anchors_{name}" for name in REPLICATION.figures}
    assert parts["anchors_mu_grid"] == "Not run yet: there are no stored results."
    assert REPLICATION.more_parts({"published": results}) == parts
