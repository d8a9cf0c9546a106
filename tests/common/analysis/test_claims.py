import json
import math

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from common.analysis.claims import (
    Claim,
    Rule,
    audit,
    audit_markdown,
    judge,
    load_claims,
    write_claims_json,
)
from common.analysis.results import PROVENANCE, Results
from common.analysis.statistics import Estimate
from common.errors import UserInputError

COMMAND = "python -m baseline.reproduce {experiments}"
PROX, AVG = {"algorithm": "fedprox"}, {"algorithm": "fedavg"}


def make_results(arms, metric="test_accuracy", **more):
    """Return results of arms, each a list of curves by seed; more metrics are such arms, too."""
    runs, rounds = [], []
    for algorithm, curves in arms.items():
        for seed, curve in enumerate(curves):
            run = len(runs)
            runs.append({"algorithm": algorithm, "seed": seed, **dict.fromkeys(PROVENANCE)})
            for i, value in enumerate(curve):
                others = {name: arm[algorithm][seed][i] for name, arm in more.items()}
                rounds.append({"run": run, "round": i + 1, metric: value, **others})
    return Results(pd.DataFrame(runs).rename_axis("run"), pd.DataFrame(rounds))


def make_claim(rule=None, **changed):
    quantity = {
        "statistic": "tail_mean",
        "metric": "test_accuracy",
        "contrasts": [{"experiment": "figure1", "arm": PROX, "minus": AVG}],
    }
    quantity |= changed.pop("quantity", {})
    claim = {
        "id": "prox-above-avg",
        "source": "Li et al. 2020, figure 7",
        "statement": "FedProx is more accurate.",
        "quantity": {key: value for key, value in quantity.items() if value is not None},
        "rule": rule or {"above": 0},
    }
    return claim | changed


def find(claim, **results):
    return judge(Claim.model_validate(claim), results.get, COMMAND)


# Differences of the seeds: 0.1, 0.2, 0.3.
FIGURE1 = make_results(
    {"fedprox": [[0.5, 0.7], [0.6, 0.8], [0.7, 0.9]], "fedavg": [[0.5, 0.5]] * 2 + [[0.4, 0.6]]}
)


def test_a_difference_of_arms_is_taken_seed_by_seed():
    finding = find(make_claim(), figure1=FIGURE1)
    assert finding.measured.value == pytest.approx(0.2)
    # s = 0.1, quantile 4.302653 of t with 2 degrees of freedom, over sqrt(3).
    assert finding.measured.low == pytest.approx(0.2 - 0.2484138)
    assert finding.measured.high == pytest.approx(0.2 + 0.2484138)
    assert finding.verdict == "partly"
    assert finding.command == "python -m baseline.reproduce figure1"


def test_an_arm_by_itself_is_a_quantity():
    quantity = {"contrasts": [{"experiment": "figure1", "arm": AVG}]}
    measured = find(make_claim(quantity=quantity), figure1=FIGURE1).measured
    assert (measured.value, measured.low) == (0.5, 0.5)


def test_the_mean_over_contrasts_is_taken_seed_by_seed():
    # The seeds' differences 0.1, 0.2, 0.3 and 0.3, 0.2, 0.1: all their means are 0.2.
    other = make_results({"fedprox": [[0.3], [0.2], [0.1]], "fedavg": [[0.0]] * 3})
    contrasts = [{"experiment": name, "arm": PROX, "minus": AVG} for name in ("figure1", "b")]
    claim = make_claim(quantity={"contrasts": [*contrasts, contrasts[0], contrasts[1]]})
    finding = find(claim, figure1=FIGURE1, b=other)
    assert (finding.measured.value, finding.measured.low) == pytest.approx((0.2, 0.2))
    assert finding.verdict == "reproduced"
    assert finding.command.endswith("reproduce figure1 b")


@pytest.mark.parametrize(
    ("statistic", "more", "expected"),
    [
        ("tail_mean", {}, 0.5),
        ("last", {}, 0.4),
        ("best", {}, 0.8),
        ("at_convergence", {}, 0.8),  # In round 3, where the loss stays as it was.
        ("rounds_to_target", {"target": 0.6}, 2.5),  # From 0.4 in round 2 to 0.8 in round 3.
    ],
)
def test_statistics_of_a_curve(statistic, more, expected):
    loss = {"fedprox": [[3.0, 2.0, 2.0, 1.0]]}
    results = make_results({"fedprox": [[0.4, 0.4, 0.8, 0.4]]}, train_loss=loss)
    contrasts = [{"experiment": "figure1", "arm": PROX}]
    quantity = {"statistic": statistic, "contrasts": contrasts, **more}
    finding = find(make_claim(quantity=quantity), figure1=results)
    assert finding.measured.value == pytest.approx(expected)
    assert finding.verdict == "partly", "one seed is no proof"


def correlation(*arms, **changed):
    quantity = {
        "correlate": ["dissimilarity", "train_loss"],
        "statistic": "last",
        "arms": [{"experiment": "figure2", "arm": {"algorithm": arm}} for arm in arms],
    }
    claim = make_claim()
    claim["quantity"] = quantity | changed
    return claim


def test_rank_correlation_over_arms():
    # Losses rank 1, 2, 3. Dissimilarities of seed 0 do, too; those of seed 1 rank 2, 1, 3, which
    # gives 1 - 6 (1 + 1) / (3 * 8) = 0.5.
    loss = {"a": [[1.0], [1.0]], "b": [[2.0], [2.0]], "c": [[3.0], [3.0]]}
    differ = {"a": [[1.0], [2.0]], "b": [[5.0], [1.0]], "c": [[9.0], [7.0]]}
    results = make_results(loss, "train_loss", dissimilarity=differ)
    finding = find(correlation("a", "b", "c"), figure2=results)
    assert finding.measured.value == pytest.approx(0.75)
    assert finding.measured.n == 2


@pytest.mark.filterwarnings("error")
def test_a_constant_has_no_correlation():
    loss = {arm: [[1.0]] for arm in "abc"}
    differ = {"a": [[1.0]], "b": [[2.0]], "c": [[3.0]]}
    results = make_results(loss, "train_loss", dissimilarity=differ)
    finding = find(correlation("a", "b", "c"), figure2=results)
    assert finding.verdict == "not_reproduced"
    assert math.isnan(finding.measured.value)


@pytest.mark.parametrize(
    ("rule", "low", "value", "high", "verdict"),
    [
        ({"above": 1}, 1.1, 2, 3, "reproduced"),
        ({"above": 1}, 1.0, 2, 3, "partly"),
        ({"above": 1}, 0.0, 1.0, 3, "not_reproduced"),
        ({"below": 1}, -1, 0, 0.9, "reproduced"),
        ({"below": 1}, -1, 0, 1.0, "partly"),
        ({"below": 1}, -1, 1.0, 3, "not_reproduced"),
        ({"within": 1}, 4.0, 5, 6.0, "reproduced"),
        ({"within": 1}, 3.9, 5, 6.0, "partly"),
        ({"within": 1}, 4.0, 5, 6.1, "partly"),
        ({"within": 1}, 1.0, 2, 4.0, "partly"),
        ({"within": 1}, 6.0, 8, 9.0, "partly"),
        ({"within": 1}, 6.1, 8, 9.0, "not_reproduced"),
        ({"within": 1}, 1.0, 2, 3.9, "not_reproduced"),
        ({"between": [4, 6]}, 4.0, 5, 6.0, "reproduced"),
        ({"between": [4, 6]}, 3.0, 5, 7.0, "partly"),
        ({"between": [4, 6]}, 7.0, 8, 9.0, "not_reproduced"),
        ({"within": 0}, 5, 5, 5, "reproduced"),
    ],
)
def test_the_verdict_of_several_seeds(rule, low, value, high, verdict):
    assert Rule.model_validate(rule).verdict(Estimate(value, low, high, 5), 5.0) == verdict


@pytest.mark.parametrize(
    ("rule", "value", "verdict"),
    [
        ({"above": 1}, 99, "partly"),
        ({"above": 1}, 1, "not_reproduced"),
        ({"below": 1}, -99, "partly"),
        ({"below": 1}, 1, "not_reproduced"),
        ({"within": 1}, 5, "partly"),
        ({"within": 1}, 6.5, "not_reproduced"),
        ({"between": [4, 6]}, 4, "partly"),
        ({"between": [4, 6]}, 3, "not_reproduced"),
    ],
)
def test_one_seed_reproduces_partly_at_best(rule, value, verdict):
    measured = Estimate(value, math.nan, math.nan, 1)
    assert Rule.model_validate(rule).verdict(measured, 5.0) == verdict


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("rule", [{"above": 0}, {"below": 0}, {"between": [0, 1]}])
def test_what_is_not_finite_is_not_reproduced(rule, value):
    measured = Estimate(value, math.nan, math.nan, 5)
    assert Rule.model_validate(rule).verdict(measured, None) == "not_reproduced"


@settings(settings.get_profile("any machine"), max_examples=25)
@given(st.lists(st.floats(-9, 9), min_size=3, max_size=3), st.floats(-9, 9))
def test_above_and_below_are_never_both_reproduced(numbers, bound):
    low, value, high = sorted(numbers)
    measured = Estimate(value, low, high, 5)
    verdicts = [Rule(**{rule: bound}).verdict(measured, None) for rule in ("above", "below")]
    assert "not_reproduced" in verdicts
    mirrored = Rule(below=-bound).verdict(Estimate(-value, -high, -low, 5), None)
    assert mirrored == verdicts[0]


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
    assert (finding.verdict, finding.measured) == ("untestable_here", None)


@pytest.mark.parametrize(
    ("quantity", "problem"),
    [
        ({"metric": "accuracy"}, "metric='accuracy' is not allowed: it must be one of "),
        ({"contrasts": [{"experiment": "figure1", "arm": {"mu": 1}}]}, "mu is not a key of "),
        ({"contrasts": [{"experiment": "figure1", "arm": {}}]}, "an arm's runs must differ in "),
        ({"statistic": "at_convergence"}, "metric='train_loss' is not allowed: it must be one "),
    ],
)
def test_a_claim_that_the_results_cannot_answer_is_refused(quantity, problem):
    with pytest.raises(UserInputError) as caught:
        find(make_claim(quantity=quantity), figure1=FIGURE1)
    message = str(caught.value)
    assert message.startswith("claim 'prox-above-avg': ")
    assert problem in message


def test_what_was_not_recorded_gets_no_verdict():
    results = make_results({"fedprox": [[0.5], [math.nan]], "fedavg": [[0.5], [0.5]]})
    with pytest.raises(UserInputError, match=r"metric='test_accuracy' of seed 1 is not allowed"):
        find(make_claim(), figure1=results)


def test_arms_must_have_the_same_seeds():
    results = make_results({"fedprox": [[0.5], [0.5]], "fedavg": [[0.5]]})
    with pytest.raises(UserInputError, match=r"arms of seeds \[0, 1\] and \[0\] are not allowed"):
        find(make_claim(), figure1=results)
    contrasts = [{"experiment": "figure1", "arm": arm} for arm in (PROX, AVG)]
    with pytest.raises(UserInputError, match="all must have the same seeds"):
        find(make_claim(quantity={"contrasts": contrasts}), figure1=results)


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


def test_the_page_for_readers():
    differences = {"fedprox": [[0.5], [0.7]], "fedavg": [[0.5], [0.5]]}  # 0 and 0.2
    claim = make_claim(
        reference=0.22, unit="points", remark="Five seeds there.\n", statement="a | b\nand c"
    )
    absent = make_claim(
        {"between": [10, 20]},
        id="absent",
        unit="rounds",
        quantity={"contrasts": [{"experiment": "b", "arm": {}}]},
    )
    page = audit_markdown([find(claim, figure1=make_results(differences)), find(absent)])
    # s = 0.1 sqrt(2), over sqrt(2): 0.1; the quantile with one degree of freedom is 12.706.
    assert (
        page
        == """\
| claim | statement | measured | reference | verdict |
|---|---|--:|--:|---|
| `prox-above-avg` | a \\| b and c | 10.0 [-117, 137] points | 22 points | partly reproduced |
| `absent` | FedProx is more accurate. | — | — | could not be tested here |

### prox-above-avg

a | b
and c

- **Source:** Li et al. 2020, figure 7
- **Measured:** 10.0 [-117, 137] points (2 seeds)
- **Reference:** 22 points
- **Verdict:** partly reproduced; the rule is: above 0 points
- **Command:** `python -m baseline.reproduce figure1`

Five seeds there.

### absent

FedProx is more accurate.

- **Source:** Li et al. 2020, figure 7
- **Measured:** —
- **Reference:** —
- **Verdict:** could not be tested here; the rule is: from 10 rounds to 20 rounds
- **Command:** `python -m baseline.reproduce b`
"""
    )


@pytest.mark.parametrize(
    ("values", "shown"),
    [([1234.5], "1,234"), ([105.4], "105"), ([0.0123456], "0.0123"), ([99.96], "100")],
)
def test_measured_numbers_have_three_digits(values, shown):
    results = make_results({"fedprox": [values]})
    quantity = {"contrasts": [{"experiment": "figure1", "arm": PROX}]}
    page = audit_markdown([find(make_claim(quantity=quantity), figure1=results)])
    assert f"- **Measured:** {shown} (1 seed)\n" in page


def test_other_rules_in_words():
    for rule, words in [({"below": 0.5}, "below 0.5"), ({"within": 0.1}, "from 0.1 to 0.3")]:
        page = audit_markdown([find(make_claim(rule, reference=0.2))])
        assert f"the rule is: {words}\n" in page


def write(folder, claims):
    file = folder / "claims.yaml"
    file.write_text(yaml.safe_dump(claims) if not isinstance(claims, str) else claims)
    return file


def test_claims_are_read_from_yaml(tmp_path):
    text = """
- id: mnist-90-fedprox-above-fedavg
  source: "Li et al. 2020, section 5.2, figure 7"
  statement: "At 90 % stragglers FedProx is more accurate."
  quantity:
    statistic: rounds_to_target
    metric: test_accuracy
    target: 0.99
    contrasts:
      - experiment: figure1_mnist
        arm: {algorithm: fedprox, mu: 1.0, stragglers_fraction: 0.9, adaptive_mu: false}
        minus: {algorithm: fedavg, num_epochs: 1}
  reference: 0.22
  rule: {above: 0}
  remark: "One seed there."
- id: b
  source: "here"
  statement: "x"
  quantity: {correlate: [x, y], statistic: last, arms: [&a {experiment: e, arm: {}}, *a, *a]}
  rule: {between: [0, 1]}
"""
    first, second = load_claims(write(tmp_path, text))
    assert first.quantity.contrasts[0].arm == {
        "algorithm": "fedprox",
        "mu": 1.0,
        "stragglers_fraction": 0.9,
        "adaptive_mu": False,
    }
    assert type(first.quantity.contrasts[0].minus["num_epochs"]) is int
    assert (first.reference, first.rule.above, first.quantity.target) == (0.22, 0, 0.99)
    assert second.quantity.correlate == ["x", "y"]


@pytest.mark.parametrize("text", ["", "[]", "a: 1", "- [", "just text", "- !!python/none x", "{"])
def test_what_is_no_list_is_refused(tmp_path, text):
    with pytest.raises(UserInputError, match=r"claims\.yaml' is not allowed: it must be a YAML li"):
        load_claims(write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    for name in ("absent", "", "bytes"):
        with pytest.raises(UserInputError, match="must be a YAML list of claims"):
            load_claims(tmp_path / name)


CONTRAST = {"experiment": "e", "arm": {}}


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (3, "claim number 1: claim=3 is not allowed: it must be a table."),
        (make_claim(id="Big"), "claim 'Big': id='Big' is not allowed: it must be of the form "),
        (make_claim(id=3), "claim number 1: id=3 is not allowed: it must be a string."),
        (make_claim(source=""), "source='' is not allowed: it must be a text with at least 1 "),
        (make_claim(statement=None), "statement=None is not allowed: it must be a string."),
        ({"id": "a"}, "claim 'a': source is missing: it must be given."),
        (make_claim(verdict="partly"), "verdict is not a key of a claim: it must be left out."),
        (make_claim(reference="1"), "reference='1' is not allowed: it must be a number."),
        (make_claim(reference=math.inf), "reference=inf is not allowed: it must be a finite "),
        (make_claim(unit="miles"), "unit='miles' is not allowed: it must be '', '%', 'points'"),
        (make_claim({"within": 1}), "rule.within=1.0 is not allowed without reference"),
        (make_claim({"within": -1}), "rule.within=-1 is not allowed: it must be greater than or"),
        (make_claim({"above": 1, "below": 2}), "rule with above, below is not allowed: it must "),
        (make_claim({"above": None}), "rule with above is not allowed: it must have exactly one"),
        (make_claim({"between": [2, 1]}), "between=[2.0, 1.0] is not allowed: it must be the low"),
        (make_claim({"between": [2]}), "rule.between=[2] is not allowed: it must be a list with "),
        (make_claim({"over": 2}), "rule.over is not a key of a claim"),
        (make_claim() | {"quantity": "x"}, "quantity='x' is not allowed: it must be a table."),
        (make_claim(quantity={"statistic": "mean"}), "quantity.statistic='mean' is not allowed"),
        (make_claim(quantity={"metric": None}), "quantity.metric is missing: it must be given."),
        (make_claim(quantity={"target": 0.9}), "target=0.9 is not allowed with statistic='tail_m"),
        (make_claim(quantity={"statistic": "rounds_to_target"}), "target=None is not allowed with"),
        (
            make_claim(quantity={"statistic": "best", "metric": "test_loss"}),
            "metric='test_loss' is not allowed with statistic='best': it must be one of which more",
        ),
        (make_claim(quantity={"contrasts": []}), "quantity.contrasts=[] is not allowed: it must "),
        (
            make_claim(quantity={"contrasts": [{"experiment": "../e", "arm": {}}]}),
            "quantity.contrasts.0.experiment='../e' is not allowed: it must be of the form ",
        ),
        (
            make_claim(quantity={"contrasts": [{"experiment": "e", "arm": {"mu": [1]}}]}),
            "quantity.contrasts.0.arm.mu=[1] is not allowed: it must be a text, a number or a ",
        ),
        (
            make_claim(quantity={"contrasts": [CONTRAST | {"plus": {}}]}),
            "quantity.contrasts.0.plus is not a key of a claim",
        ),
        (correlation("a", "b"), "quantity.arms=[{'arm': {'algorithm': 'a'}, 'experiment': 'figur"),
        (correlation("a", "b", "c", correlate=["x"]), "quantity.correlate=['x'] is not allowed"),
        (
            correlation("a", "b", "c", statistic="rounds_to_target"),
            "quantity.statistic='rounds_to_target' is not allowed: it must be 'tail_mean', 'at_c",
        ),
    ],
)
def test_what_is_no_claim_is_refused_in_one_sentence(tmp_path, claim, message):
    with pytest.raises(UserInputError) as caught:
        load_claims(write(tmp_path, [claim]))
    assert message in str(caught.value)
    assert str(caught.value).startswith("claim ")
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_ids_are_unique(tmp_path):
    with pytest.raises(UserInputError, match=r"claim 'a': id='a' is not allowed twice"):
        load_claims(write(tmp_path, [make_claim(id=name) for name in "aba"]))


def test_results_that_were_stored_are_judged_as_such(tmp_path):
    """From the tables on disk, with a configuration's types."""
    FIGURE1.save(tmp_path, "figure1")
    claim = Claim.model_validate(make_claim({"between": [0.1, 0.3]}, reference=0.2))
    (finding,) = audit([claim], lambda name: Results.find(tmp_path, name), COMMAND)
    assert finding.measured.value == pytest.approx(0.2)
    assert np.isfinite(finding.measured.low)
