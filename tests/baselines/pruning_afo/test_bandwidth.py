import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import made_runs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruning_afo.bandwidth import (
    bandwidth_parts,
    best_within,
    cost_to_target,
    federated,
    first_round_at,
)
from toy_replication import CONFIG, TOY

from common.analysis.results import Results
from common.replication.comparison import compare
from common.replication.definition import FigureOf

NAN = math.nan
make_run = partial(made_runs.make_run, CONFIG | {"num_clients": 4})

accuracies = st.lists(st.sampled_from([NAN, 0.1, 0.2, 0.3]), min_size=1, max_size=6)
thresholds = st.sampled_from([0.1, 0.2, 0.3, 0.4])


def test_the_cost_to_a_target_is_that_of_all_rounds_up_to_the_first_that_reaches_it():
    accuracy, cost = np.array([0.1, 0.5, 0.4, 0.6]), np.array([1.0, 2.0, 4.0, 8.0])
    assert [first_round_at(accuracy, target) for target in (0.1, 0.45, 0.55)] == [1, 2, 4]
    assert [cost_to_target(accuracy, cost, target) for target in (0.1, 0.45, 0.55)] == [1, 3, 15]


def test_a_target_that_is_never_reached_has_no_cost():
    accuracy = np.array([0.1, NAN, 0.4, NAN])
    assert first_round_at(accuracy, 0.5) == math.inf
    assert cost_to_target(accuracy, np.array([1.0, 1.0, 1.0, NAN]), 0.5) == math.inf


def test_a_budget_is_enough_for_the_rounds_that_cost_no_more_together():
    accuracy, cost = np.array([0.1, 0.5, 0.4, 0.6]), np.array([1.0, 2.0, 4.0, 8.0])
    within = [best_within(accuracy, cost, budget) for budget in (1, 2.9, 3, 14.9, 15)]
    assert within == [0.1, 0.1, 0.5, 0.5, 0.6]
    assert math.isnan(best_within(accuracy, cost, 0.9))


@given(accuracy=accuracies, target=thresholds)
def test_what_a_target_costs_is_the_least_budget_that_reaches_it(accuracy, target):
    curve, cost = np.array(accuracy), np.arange(1.0, len(accuracy) + 1)
    least = cost_to_target(curve, cost, target)
    if math.isinf(least):
        assert not best_within(curve, cost, cost.sum()) >= target
    else:
        assert best_within(curve, cost, least) >= target
        assert not best_within(curve, cost, least - 0.5) >= target


def make_arm(curves, megabytes_up, seconds, **keys):
    """Runs of an arm that sends so much in every round, and is sent 10 MB."""
    return [
        make_run(
            curve,
            seed=seed,
            metrics={
                "bytes_up": [1e6 * megabytes_up] * len(curve),
                "bytes_down": [1e7] * len(curve),
                "seconds_mobile": [seconds] * len(curve),
                "seconds_home": [seconds / 2] * len(curve),
                "seconds_data_centre": [seconds / 1000] * len(curve),
            },
            **keys,
        )
        for seed, curve in enumerate(curves)
    ]


def with_metric(run, name, values):
    rounds = [{**record, name: value} for record, value in zip(run.rounds, values, strict=True)]
    return replace(run, rounds=rounds)


@pytest.fixture
def stored():
    arms = [
        make_arm([(0.25, 0.5, 0.75), (0.5, 0.5, 0.75)], 40, 64.0, algorithm="avg", mu=0.0),
        make_arm([(0.25, 0.5, 0.25), (0.25, 0.25, 0.25)], 0.5, 8.0),
        make_arm([(0.9, 0.9, 0.9)] * 2, 40, 1.0, algorithm="pooled", mu=0.0, num_clients=1),
    ]
    return Results.of([run for runs in arms for run in runs])


@pytest.fixture
def parts(stored):
    figures = {"first": FigureOf("", "", target=0.5), "second": FigureOf("", "")}
    replication = replace(TOY, figures=figures, folder=Path("toy"))
    return bandwidth_parts(replication, {"first": stored})


def rows(part, start):
    """Cells of the rows below the caption that starts so."""
    lines = part.partition(start)[2].split("\n\n")[1].splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if "--" not in line
    ]


def test_experiments_without_results_say_so(parts):
    assert set(parts) == {"bandwidth_first", "bandwidth_second"}
    assert parts["bandwidth_second"] == "Not run yet: there are no stored results."


def test_a_part_tells_what_compressed_arms_sent_beside_their_bound():
    compressed = make_arm([(0.25, 0.5, 0.75)] * 2, 4, 1.0, algorithm="avg", mu=0.0)
    compressed = [with_metric(run, "bound_up", [1e6, 2e6, 3e6]) for run in compressed]
    dense = make_arm([(0.25, 0.5, 0.75)] * 2, 40, 1.0)
    replication = replace(TOY, figures={"first": FigureOf("", "")}, folder=Path("toy"))
    part = bandwidth_parts(replication, {"first": Results.of(compressed + dense)})[
        "bandwidth_first"
    ]
    (_, *found) = rows(part, "What all clients sent in all rounds")
    assert [row[1:] for row in found] == [["12.0 ± 0.0", "6.00 ± 0.00", "2.00"]]


def test_a_part_tells_what_a_target_takes(parts):
    # Rounds 2 and 1 of two seeds: 1.5, with an interval of 12.7 standard errors.
    header, reached, some = rows(parts["bandwidth_first"], "To 50 % test accuracy: ")
    assert header == [
        *("Hills", "round", "MB up", "MB up and down"),
        *("seconds, mobile", "seconds, home", "seconds, data centre"),
    ]
    assert reached == [
        *("FedAvg", "1.50 ± 6.35", "60.0 ± 254.1", "75.0 ± 317.7"),
        *("96.0 ± 406.6", "48.0 ± 203.3", "0.10 ± 0.41"),
    ]
    assert some == ["FedProx, μ = 1", "1 of 2 seeds", "", "", "", "", ""]


def test_a_part_tells_what_budgets_are_enough_for(parts):
    part = parts["bandwidth_first"]
    header, avg, prox = rows(part, "had sent at most so much")
    assert header == ["Hills", "1 MB", "10 MB", "100 MB", "1,000 MB"]
    assert avg == ["FedAvg", "", "", "50.0 ± 0.0", "75.0 ± 0.0"]
    assert [cell.partition(" ")[0] for cell in prox[1:]] == ["37.5", "37.5", "37.5", "37.5"]
    header, avg, _ = rows(part, "had sent and been sent at most so much")
    assert header == ["Hills", "100 MB", "1,000 MB"]
    assert avg == ["FedAvg", "50.0 ± 0.0", "75.0 ± 0.0"]


def test_an_arm_of_one_client_sends_nothing(stored, parts):
    panels = compare(TOY, stored)
    assert list(panels["Hills"]) == ["FedAvg", "pooled data", "FedProx, μ = 1"]
    assert list(federated(panels)["Hills"]) == ["FedAvg", "FedProx, μ = 1"]
    assert "pooled" not in parts["bandwidth_first"]
    alone = stored.select(algorithm="pooled")
    assert federated(compare(TOY, alone)) == {}
    part = bandwidth_parts(TOY, {"first": alone})["bandwidth_first"]
    assert part == "No arm has several clients: nothing is sent."


def test_an_experiment_without_target_has_budgets_alone(stored):
    part = bandwidth_parts(TOY, {"first": stored})["bandwidth_first"]
    assert part.startswith("Best test accuracy (%) of the rounds")


def test_rounds_that_a_run_did_not_come_to_cost_nothing(stored):
    (run,) = make_arm([(0.25, 0.5)], 2, 1.0, num_rounds=4)
    stopped = Results.of([replace(run, summary={"rounds": 2, "stopped": "It failed."})])
    part = bandwidth_parts(TOY, {"first": stopped})["bandwidth_first"]
    assert rows(part, "had sent at most") == [
        ["Hills", "10 MB"],
        ["FedProx, μ = 1", "50.0"],
    ]
