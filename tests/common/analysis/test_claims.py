import math

import pytest
import yaml
from audited import make_claim

from common.analysis.claims import Claim, load_claims
from common.errors import UserInputError


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
  quantity:
    agree: [dissimilarity, train_loss]
    statistic: tail_mean
    contrasts: [{experiment: e, arm: {mu: 1.0}, minus: {mu: 0.0}}]
  reference: 1
  rule: {among_seeds: true}
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
    assert second.quantity.agree == ["dissimilarity", "train_loss"]
    assert second.quantity.contrasts[0].minus == {"mu": 0.0}
    assert second.rule.among_seeds


@pytest.mark.parametrize("text", ["", "[]", "a: 1", "- [", "just text", "- !!python/none x", "{"])
def test_what_is_no_list_is_refused(tmp_path, text):
    with pytest.raises(UserInputError, match=r"claims\.yaml' is not allowed: it must be a YAML li"):
        load_claims(write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    for name in ("absent", "", "bytes"):
        with pytest.raises(UserInputError, match="must be a YAML list of at least one claim"):
            load_claims(tmp_path / name)


CONTRAST = {"experiment": "e", "arm": {}}


def agreement(**changed):
    quantity = {
        "agree": ["dissimilarity", "train_loss"],
        "statistic": "tail_mean",
        "contrasts": [CONTRAST | {"minus": {}}],
    }
    return make_claim() | {"quantity": quantity | changed}


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
        (make_claim({"among_seeds": True}), "rule.among_seeds=True is not allowed without refere"),
        (make_claim({"among_seeds": False}), "rule.among_seeds=False is not allowed: it must be "),
        (make_claim({"within": -1}), "rule.within=-1 is not allowed: it must be greater than or"),
        (make_claim({"above": 1, "below": 2}), "rule with above, below is not allowed: it must "),
        (make_claim({"above": None}), "rule with above is not allowed: it must have exactly one"),
        (make_claim({"between": [2, 1]}), "between=[2.0, 1.0] is not allowed: it must be the low"),
        (make_claim({"between": [2]}), "rule.between=[2] is not allowed: it must be a list with "),
        (make_claim({"over": 2}), "rule.over is not a key of a claim"),
        (make_claim() | {"quantity": "x"}, "quantity='x' is not allowed: it must be a table."),
        (make_claim(quantity={"statistic": "mean"}), "quantity.statistic='mean' is not allowed"),
        (make_claim(quantity={"metric": None}), "quantity.metric is missing: it must be given."),
        (
            make_claim(quantity={"tail": 3, "statistic": "last"}),
            "tail=3 is not allowed with statistic='last'",
        ),
        (
            make_claim(quantity={"tail": 0}),
            "quantity.tail=0 is not allowed: it must be greater than or equal to 1.",
        ),
        (
            make_claim(
                quantity={
                    "relative": True,
                    "contrasts": [{"experiment": "figure1", "arm": {"algorithm": "fedprox"}}],
                }
            ),
            "relative=True is not allowed with a contrast that has no minus",
        ),
        (
            make_claim(
                quantity={
                    "contrasts": [
                        {
                            "experiment": "figure1",
                            "arm": {"algorithm": "fedprox"},
                            "minus_rounds": 3,
                        }
                    ]
                }
            ),
            "minus_rounds=3 is not allowed without minus",
        ),
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
        (agreement(contrasts=[]), "quantity.contrasts=[] is not allowed: it must be a list with "),
        (agreement(contrasts=[CONTRAST]), "quantity.contrasts.0.minus is missing: it must be give"),
        (
            agreement(contrasts=[CONTRAST | {"minus": None}]),
            "quantity.contrasts.0.minus=None is not allowed: it must be a table.",
        ),
        (agreement(agree=["x"]), "quantity.agree=['x'] is not allowed: it must be a list with "),
        (agreement(metric="x"), "quantity.metric is not a key of a claim"),
        (
            agreement(statistic="rounds_to_target"),
            "quantity.statistic='rounds_to_target' is not allowed: it must be 'tail_mean', 'at_c",
        ),
        (
            agreement(statistic="best"),
            "metric='train_loss' is not allowed with statistic='best': it must be one of which mo",
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


def test_a_claim_names_its_experiments_once():
    contrasts = [CONTRAST | {"experiment": name} for name in ("b", "a", "b")]
    claim = Claim.model_validate(make_claim(quantity={"contrasts": contrasts}))
    assert claim.experiments == ["b", "a"]
