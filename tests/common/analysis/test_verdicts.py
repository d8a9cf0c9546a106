import json
import math

import numpy as np
import pytest
from audited import AVG, COMMAND, PROX, find, make_claim, make_results
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.analysis.claims import Claim, Rule
from common.analysis.results import Results
from common.analysis.verdicts import audit, give_verdict, write_claims_json

# Differences of the seeds: 0.1, 0.2, 0.3.
FIGURE1 = make_results(
    {"fedprox": [[0.5, 0.7], [0.6, 0.8], [0.7, 0.9]], "fedavg": [[0.5, 0.5]] * 2 + [[0.4, 0.6]]}
)


def five(mean, half):
    """Return five seeds' values with this mean, whose interval is this to either side."""
    # Of -1, 2, 0, -2, 1: s / sqrt(5) = sqrt(0.5), times the quantile of t, which is 2.776445.
    return mean + half / 1.963243 * np.array([-1.0, 2.0, 0.0, -2.0, 1.0])


def verdict(rule, values, reference=None):
    return give_verdict(Rule.model_validate(rule), reference, np.array(values, dtype=np.float64))


def test_a_claim_is_judged_by_its_runs():
    finding = find(make_claim(), figure1=FIGURE1)
    assert finding.measured.value == pytest.approx(0.2)
    # s = 0.1, quantile 4.302653 of t with 2 degrees of freedom, over sqrt(3).
    assert finding.measured.low == pytest.approx(0.2 - 0.2484138)
    assert finding.measured.high == pytest.approx(0.2 + 0.2484138)
    assert finding.measured.n == 3
    assert finding.verdict == "partly"
    assert finding.command == "python -m baseline.reproduce figure1"


@pytest.mark.parametrize(
    ("rule", "mean", "half", "expected"),
    [
        ({"above": 1}, 2, 0.99, "reproduced"),
        ({"above": 1}, 2, 1.01, "partly"),
        ({"above": 1}, 1, 0.5, "not_reproduced"),
        ({"above": 1}, 1, 0, "not_reproduced"),
        ({"below": 1}, 0, 0.99, "reproduced"),
        ({"below": 1}, 0, 1.01, "partly"),
        ({"below": 1}, 1, 0.5, "not_reproduced"),
        ({"within": 1}, 5, 0.99, "reproduced"),
        ({"within": 1}, 5, 1.01, "partly"),
        ({"within": 1}, 4.5, 0.6, "partly"),
        ({"within": 1}, 5.5, 0.6, "partly"),
        ({"within": 1}, 4, 0, "reproduced"),
        ({"within": 1}, 6, 0, "reproduced"),
        # Noise reaches into the range; the mean does not.
        ({"within": 1}, 3.9, 5, "not_reproduced"),
        ({"within": 1}, 6.1, 5, "not_reproduced"),
        ({"within": 0}, 5, 0, "reproduced"),
        ({"between": [4, 6]}, 5, 0.99, "reproduced"),
        ({"between": [4, 6]}, 5, 1.01, "partly"),
        ({"between": [4, 6]}, 7, 5, "not_reproduced"),
    ],
)
def test_the_verdict_of_mean_and_interval(rule, mean, half, expected):
    assert verdict(rule, five(mean, half), 5.0) == expected


# Lowest 1 and highest 5 of mean 3; s = sqrt(2.5), times sqrt(1.2), times 2.776445: 4.808944.
@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        *((1, "reproduced"), (5, "reproduced"), (3, "reproduced")),
        *((0.99, "partly"), (5.01, "partly"), (-1.8, "partly"), (7.8, "partly")),
        *((-1.81, "not_reproduced"), (7.81, "not_reproduced")),
    ],
)
def test_the_verdict_of_one_published_run_among_ours(reference, expected):
    assert verdict({"among_seeds": True}, [5, 1, 4, 2, 3], reference) == expected


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        *(({"above": 0}, None), ({"below": 2}, None), ({"between": [0, 2]}, None)),
        *(({"within": 1}, 1), ({"among_seeds": True}, 1)),
    ],
)
@pytest.mark.parametrize(
    ("n", "expected"), [(1, "partly"), (2, "partly"), (4, "partly"), (5, "reproduced")]
)
def test_fewer_than_five_seeds_reproduce_partly_at_best(rule, reference, n, expected):
    assert verdict(rule, [1] * n, reference) == expected


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        *(({"above": 1}, 1), ({"below": 1}, 1), ({"within": 1}, 6.5), ({"between": [4, 6]}, 3)),
        ({"among_seeds": True}, 5.1),  # One seed does not tell how far another may be.
    ],
)
def test_one_seed_can_contradict(rule, value):
    assert verdict(rule, [value], 5.0) == "not_reproduced"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    "rule", [{"above": 0}, {"below": 0}, {"between": [0, 1]}, {"among_seeds": True}]
)
def test_what_is_not_finite_is_not_reproduced(rule, value):
    assert verdict(rule, [0.5] * 4 + [value], 0.5) == "not_reproduced"


@settings(settings.get_profile("any machine"), max_examples=25)
@given(arrays(np.float64, st.integers(1, 7), elements=st.floats(-9, 9)), st.floats(-9, 9))
def test_above_and_below_are_never_both_reproduced(values, bound):
    verdicts = [verdict({rule: bound}, values) for rule in ("above", "below")]
    assert "not_reproduced" in verdicts
    assert verdict({"below": -bound}, -values) == verdicts[0]


@pytest.mark.filterwarnings("error")
def test_a_target_that_some_seed_never_reaches_is_not_reproduced(tmp_path):
    results = make_results({"fedprox": [[0.9], [0.5]], "fedavg": [[0.9], [0.5]]})
    for minus in (None, AVG):
        contrasts = [{"experiment": "figure1", "arm": PROX, "minus": minus}]
        quantity = {"statistic": "rounds_to_target", "target": 0.8, "contrasts": contrasts}
        finding = find(make_claim({"below": 100}, quantity=quantity), figure1=results)
        assert finding.verdict == "not_reproduced"
        write_claims_json([finding], tmp_path / "claims.json")
        (record,) = json.loads((tmp_path / "claims.json").read_text())
        assert (record["value"], record["low"], record["high"]) == (None, None, None)


def test_without_stored_results_nothing_can_be_said():
    contrasts = [{"experiment": name, "arm": PROX} for name in ("figure1", "absent")]
    finding = find(make_claim(quantity={"contrasts": contrasts}), figure1=FIGURE1)
    assert (finding.verdict, finding.values, finding.measured) == ("untestable_here", None, None)
    assert finding.command.endswith("reproduce figure1 absent")


def test_an_experiment_is_loaded_once():
    loaded = []

    def load(name):
        loaded.append(name)
        return FIGURE1

    claims = [Claim.model_validate(make_claim(id=name)) for name in ("a", "b")]
    findings = audit(claims, load, COMMAND)
    assert [finding.claim.id for finding in findings] == ["a", "b"]
    assert loaded == ["figure1"]


def test_claims_json_is_exactly_this(tmp_path):
    results = make_results({"fedprox": [[2 / 3]], "fedavg": [[0.0]]})
    claim = make_claim(reference=22, source="Müller", rule={"within": 1}, remark="x", unit="points")
    absent = make_claim(id="absent", quantity={"contrasts": [{"experiment": "b", "arm": {}}]})
    findings = [find(claim, figure1=results), find(absent)]
    write_claims_json(findings, tmp_path / "claims.json")
    assert (
        (tmp_path / "claims.json").read_text(encoding="utf-8")
        == """\
[
  {
    "id": "prox-above-avg",
    "source": "Müller",
    "statement": "FedProx is more accurate.",
    "verdict": "not_reproduced",
    "value": 0.666667,
    "low": null,
    "high": null,
    "reference": 22.0,
    "command": "python -m baseline.reproduce figure1"
  },
  {
    "id": "absent",
    "source": "Li et al. 2020, figure 7",
    "statement": "FedProx is more accurate.",
    "verdict": "untestable_here",
    "value": null,
    "low": null,
    "high": null,
    "reference": null,
    "command": "python -m baseline.reproduce b"
  }
]
"""
    )


def test_a_zero_has_no_sign(tmp_path):
    results = make_results({"fedprox": [[0.0]] * 2, "fedavg": [[1e-320]] * 2})
    write_claims_json([find(make_claim(), figure1=results)], tmp_path / "claims.json")
    assert "-0.0" not in (tmp_path / "claims.json").read_text()


def test_results_that_were_stored_are_judged_as_such(tmp_path):
    """From the tables on disk, with a configuration's types."""
    FIGURE1.save(tmp_path, "figure1")
    claim = Claim.model_validate(make_claim({"between": [0.1, 0.3]}, reference=0.2))
    (finding,) = audit([claim], lambda name: Results.find(tmp_path, name), COMMAND)
    assert finding.measured.value == pytest.approx(0.2)
    assert np.isfinite(finding.measured.low)
