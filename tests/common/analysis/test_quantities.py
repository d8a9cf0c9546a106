import math

import pytest
from audited import AVG, PROX, find, make_claim, make_results

from common.errors import UserInputError

# Differences of the seeds: 0.1, 0.2, 0.3.
FIGURE1 = make_results(
    {"fedprox": [[0.5, 0.7], [0.6, 0.8], [0.7, 0.9]], "fedavg": [[0.5, 0.5]] * 2 + [[0.4, 0.6]]}
)


def by_seed(quantity=None, **results):
    return find(make_claim(quantity=quantity or {}), **results).values.tolist()


def test_a_difference_of_arms_is_taken_seed_by_seed():
    assert by_seed(figure1=FIGURE1) == pytest.approx([0.1, 0.2, 0.3])


def test_an_arm_by_itself_is_a_quantity():
    quantity = {"contrasts": [{"experiment": "figure1", "arm": AVG}]}
    assert by_seed(quantity, figure1=FIGURE1) == [0.5] * 3


def test_the_mean_over_contrasts_is_taken_seed_by_seed():
    # The seeds' differences 0.1, 0.2, 0.3 and twice 0.3, 0.2, 0.1.
    other = make_results({"fedprox": [[0.3], [0.2], [0.1]], "fedavg": [[0.0]] * 3})
    contrasts = [{"experiment": name, "arm": PROX, "minus": AVG} for name in ("figure1", "b", "b")]
    found = by_seed({"contrasts": contrasts}, figure1=FIGURE1, b=other)
    assert found == pytest.approx([0.7 / 3, 0.2, 0.5 / 3])


@pytest.mark.parametrize(
    ("statistic", "more", "expected"),
    [
        ("tail_mean", {}, 0.5),
        ("last", {}, 0.4),
        ("best", {}, 0.8),
        ("at_convergence", {}, 0.8),  # In round 3, where the loss stays as it was.
        ("rounds_to_target", {"target": 0.6}, 2.5),  # From 0.4 in round 2 to 0.8 in round 3.
        ("fluctuation", {}, 0.8 / 3),  # 0, 0.4 and 0.4.
        ("fluctuation", {"metric": "train_loss"}, 2 / 3),  # 1, 0 and 1.
    ],
)
def test_statistics_of_a_curve(statistic, more, expected):
    loss = {"fedprox": [[3.0, 2.0, 2.0, 1.0]]}
    results = make_results({"fedprox": [[0.4, 0.4, 0.8, 0.4]]}, train_loss=loss)
    contrasts = [{"experiment": "figure1", "arm": PROX}]
    quantity = {"statistic": statistic, "contrasts": contrasts, **more}
    assert by_seed(quantity, figure1=results) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("quantity", "rounds", "expected"),
    [
        ({"statistic": "tail_mean", "tail": 2}, None, 0.7),
        ({"statistic": "tail_mean", "tail": 2}, 3, 0.3),
        ({"statistic": "tail_mean"}, 2, 0.1),
        ({"statistic": "last"}, 2, 0.2),
        ({"statistic": "best"}, 3, 0.4),
        ({"statistic": "rounds_to_target", "target": 0.4}, 2, math.inf),
        ({"statistic": "last"}, 5, 0.8),
    ],
)
def test_the_first_rounds_alone_may_count_and_of_them_the_last(quantity, rounds, expected):
    results = make_results({"fedprox": [[0.0, 0.2, 0.4, 0.6, 0.8]]})
    contrasts = [{"experiment": "figure1", "arm": PROX, "rounds": rounds}]
    found = by_seed({"contrasts": contrasts, **quantity}, figure1=results)
    assert found == pytest.approx([expected])


def test_more_rounds_than_there_are_cannot_be_asked_for():
    results = make_results({"fedprox": [[0.0, 0.2]]})
    contrasts = [{"experiment": "figure1", "arm": PROX, "rounds": 3}]
    with pytest.raises(UserInputError, match="rounds=3 is not allowed: it must be at most 2"):
        by_seed({"statistic": "last", "contrasts": contrasts}, figure1=results)


def test_arms_may_be_compared_at_different_rounds():
    results = make_results({"fedprox": [[0.0, 0.1, 0.5, 0.9]], "fedavg": [[0.1, 0.2, 0.3, 0.4]]})
    contrast = {"experiment": "figure1", "arm": PROX, "rounds": 3}
    contrast |= {"minus": AVG, "minus_rounds": 2}
    quantity = {"statistic": "last", "contrasts": [contrast]}
    assert by_seed(quantity, figure1=results) == pytest.approx([0.3])


def test_a_difference_may_be_a_share_of_the_other_arm():
    results = make_results({"fedprox": [[6.0], [3.0]], "fedavg": [[4.0], [4.0]]})
    contrasts = [{"experiment": "figure1", "arm": PROX, "minus": AVG}]
    quantity = {"contrasts": contrasts, "relative": True}
    assert by_seed(quantity, figure1=results) == pytest.approx([0.5, -0.25])


def agreement(*arms, **changed):
    """Return how often two metrics agree on some arms minus the arm "base"."""
    contrasts = [
        {"experiment": "figure2", "arm": {"algorithm": arm}, "minus": {"algorithm": "base"}}
        for arm in arms
    ]
    quantity = {"agree": ["dissimilarity", "train_loss"], "statistic": "last"}
    return make_claim() | {"quantity": quantity | {"contrasts": contrasts} | changed}


def test_metrics_agree_where_their_differences_have_the_same_sign():
    # Signs of the losses' differences, by arm: -, +, 0, 0 for both seeds; those of the
    # dissimilarities are -, -, 0, + and +, -, -, -.
    loss = {"base": [[1.0]] * 2, "a": [[0.0]] * 2, "b": [[2.0]] * 2, "c": [[1.0]] * 2}
    differ = {"base": [[5.0], [5.0]], "a": [[4.0], [9.0]], "b": [[3.0], [4.0]]}
    differ["c"] = [[5.0], [4.0]]
    loss["d"], differ["d"] = [[1.0]] * 2, [[6.0], [1.0]]
    results = make_results(loss, "train_loss", dissimilarity=differ)
    assert find(agreement(*"abcd"), figure2=results).values.tolist() == [0.5, 0.0]
    assert find(agreement(*"ac"), figure2=results).values.tolist() == [1.0, 0.0]


@pytest.mark.filterwarnings("error")
def test_a_difference_of_infinite_losses_has_no_sign():
    loss = {"base": [[math.inf], [1.0]], "a": [[math.inf], [math.inf]]}
    differ = {"base": [[1.0], [1.0]], "a": [[2.0], [2.0]]}
    finding = find(agreement("a"), figure2=make_results(loss, "train_loss", dissimilarity=differ))
    assert math.isnan(finding.values[0])
    assert finding.values[1] == 1
    assert finding.verdict == "not_reproduced"


def test_metrics_may_agree_in_how_they_fluctuate():
    loss = {"base": [[1.0, 1.0]], "a": [[1.0, 3.0]]}
    differ = {"base": [[9.0, 8.0]], "a": [[1.0, 4.0]]}
    results = make_results(loss, "train_loss", dissimilarity=differ)
    assert find(agreement("a", statistic="fluctuation"), figure2=results).values == [1]
    assert find(agreement("a", statistic="last"), figure2=results).values == [0]


def test_arms_are_paired_over_the_seeds_that_all_have():
    arms = {"fedprox": [[0.9], [0.7], [0.8]], "fedavg": [[0.4], [0.1], [0.3]]}
    results = make_results(arms, seeds={"fedprox": [1, 2, 5], "fedavg": [2, 4, 5]})
    assert by_seed(figure1=results) == pytest.approx([0.7 - 0.4, 0.8 - 0.3])
    both = [{"experiment": "figure1", "arm": arm} for arm in (PROX, AVG)]
    assert by_seed({"contrasts": both}, figure1=results) == pytest.approx([1.1 / 2, 1.1 / 2])
    other = make_results({"fedprox": [[0.1], [0.3]]}, seeds={"fedprox": [5, 6]})
    three = [*both, {"experiment": "b", "arm": PROX}]
    assert by_seed({"contrasts": three}, figure1=results, b=other) == pytest.approx([1.2 / 3])


def test_metrics_agree_over_the_seeds_that_all_arms_have():
    loss = {"base": [[1.0], [1.0]], "a": [[2.0], [0.0]]}
    results = make_results(
        loss, "train_loss", seeds={"base": [0, 1], "a": [1, 2]}, dissimilarity=loss
    )
    assert find(agreement("a"), figure2=results).values.tolist() == [1]


def test_arms_without_a_common_seed_are_refused():
    arms = {"fedprox": [[0.5], [0.5]], "fedavg": [[0.5]]}
    results = make_results(arms, seeds={"fedprox": [0, 1], "fedavg": [2]})
    contrasts = [{"experiment": "figure1", "arm": arm} for arm in (PROX, AVG)]
    for quantity in ({}, {"contrasts": contrasts}):
        with pytest.raises(UserInputError) as caught:
            by_seed(quantity, figure1=results)
        assert str(caught.value) == (
            "claim 'prox-above-avg': arms of seeds [0, 1] and [2] are not allowed together: they "
            "must have a seed in common."
        )


@pytest.mark.parametrize(
    ("quantity", "problem"),
    [
        ({"metric": "accuracy"}, "metric='accuracy' is not allowed: it must be one of "),
        ({"contrasts": [{"experiment": "figure1", "arm": {"mu": 1}}]}, "mu is not a key of "),
        (
            {"contrasts": [{"experiment": "figure1", "arm": {"algorithm": "fedsgd"}}]},
            "algorithm='fedsgd' is not allowed: there must be such a run (",
        ),
        ({"contrasts": [{"experiment": "figure1", "arm": {}}]}, "an arm's runs must differ in "),
        ({"statistic": "at_convergence"}, "metric='train_loss' is not allowed: it must be one "),
    ],
)
def test_a_claim_that_the_results_cannot_answer_is_refused(quantity, problem):
    with pytest.raises(UserInputError) as caught:
        by_seed(quantity, figure1=FIGURE1)
    message = str(caught.value)
    assert message.startswith("claim 'prox-above-avg': ")
    assert problem in message
    assert message.endswith(".")


def test_what_was_not_recorded_gets_no_verdict():
    results = make_results({"fedprox": [[0.5], [math.nan]], "fedavg": [[0.5], [0.5]]})
    with pytest.raises(UserInputError, match=r"metric='test_accuracy' of seed 1 is not allowed"):
        by_seed(figure1=results)
