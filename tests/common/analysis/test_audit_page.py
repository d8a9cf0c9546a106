import math
import re

import pytest
from audited import AVG, PROX, find, make_claim, make_results

from common.analysis.audit_page import audit_markdown


def page(claim, **results):
    return audit_markdown([find(claim, **results)])


def of_prox(values, **more):
    """Return the page of a claim on FedProx alone, measured in one round by these seeds."""
    claim = make_claim(quantity={"contrasts": [{"experiment": "figure1", "arm": PROX}]}, **more)
    return page(claim, figure1=make_results({"fedprox": [[value] for value in values]}))


def test_the_page_for_readers():
    differences = {"fedprox": [[0.5], [0.7]], "fedavg": [[0.5], [0.5]]}  # 0 and 0.2
    claim = make_claim(
        reference=0.22, unit="points", remark="Five seeds there.\n", statement="a | b\nand c"
    )
    absent = make_claim(
        {"between": [10, 20]},
        id="absent",
        statement="None.",
        unit="rounds",
        quantity={"contrasts": [{"experiment": "b", "arm": {}}]},
    )
    found = audit_markdown([find(claim, figure1=make_results(differences)), find(absent)])
    # s = 0.1 sqrt(2), over sqrt(2): 0.1; the quantile with one degree of freedom is 12.706.
    counts, table, text = found.split("\n\n", 2)
    assert counts == "Of 2 claims: 1 partly reproduced, 1 could not be tested here."
    assert [re.sub("  +", " ", re.sub("--+", "-", line)) for line in table.splitlines()] == [
        "| claim | verdict | measured | reference |",
        "| - | - | -: | -: |",
        "| [prox-above-avg](#prox-above-avg) | partly reproduced | 10.0 [-117, 137] points (n = 2) "
        "| 22 points |",
        "| [absent](#absent) | could not be tested here | — | — |",
    ]
    assert (
        text
        == """\
### prox-above-avg

a | b
and c

- **Source:** Li et al. 2020, figure 7
- **Measured:** 10.0 [-117, 137] points (n = 2)
- **Reference:** 22 points
- **Verdict:** partly reproduced; the rule is: above 0 points, and by fewer than 5 seeds partly \
at best
- **Command:** `python -m baseline.reproduce figure1`

Five seeds there.

### absent

None.

- **Source:** Li et al. 2020, figure 7
- **Measured:** —
- **Reference:** —
- **Verdict:** could not be tested here; the rule is: from 10 rounds to 20 rounds
- **Command:** `python -m baseline.reproduce b`
"""
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234.5, "1,234"), (105.4, "105"), (0.0123456, "0.0123"), (99.96, "100")],
)
def test_measured_numbers_have_three_digits(value, shown):
    assert f"- **Measured:** {shown} (n = 1)\n" in of_prox([value])


def test_other_rules_in_words():
    for rule, words in [({"below": 0.5}, "below 0.5"), ({"within": 0.1}, "from 0.1 to 0.3")]:
        assert f"the rule is: {words}\n" in page(make_claim(rule, reference=0.2))


def test_the_seeds_that_a_published_run_is_compared_with():
    # s = sqrt(2.5) of 1 to 5, times sqrt(1.2) and 2.776445: 4.808944; s/sqrt(5) times that: 1.96.
    rule = {"among_seeds": True}
    text = of_prox([0.05, 0.01, 0.04, 0.02, 0.03], rule=rule, reference=0.02, unit="%")
    assert (
        "- **Measured:** 3.00 [1.04, 4.96] % (n = 5); the seeds are from 1.00 % to 5.00 %, and one "
        "more would be from -1.81 % to 7.81 %\n"
    ) in text
    assert "reproduced; the rule is: the reference, of one run, is among the seeds\n" in text
    one = of_prox([0.05], rule=rule, reference=0.02)
    assert "- **Measured:** 0.0500 (n = 1); the seeds are from 0.0500 to 0.0500\n" in one


def reaching(values, minus=None):
    """Return how the rounds to 0.8 are shown, which each seed reaches after some at 0."""
    curves = [[0.8 if done == rounds else 0.0 for done in range(10)] for rounds in values]
    results = make_results({"fedprox": curves, "fedavg": curves[::-1]})
    quantity = {
        "statistic": "rounds_to_target",
        "target": 0.8,
        "contrasts": [{"experiment": "figure1", "arm": PROX, "minus": minus}],
    }
    text = page(make_claim({"below": 9}, unit="rounds", quantity=quantity), figure1=results)
    return text.partition("- **Measured:** ")[2].partition("\n")[0]


NEVER = 10


def test_seeds_that_never_reach_a_target_are_counted():
    assert reaching([1, 4, NEVER]) == "not reached by 1 of 3 seeds; the median is 5.00 rounds"
    assert reaching([1, 2, 4, NEVER]) == "not reached by 1 of 4 seeds; the median is 4.00 rounds"
    assert reaching([1, NEVER]) == "not reached by 1 of 2 seeds"
    assert reaching([1, NEVER, NEVER]) == "not reached by 2 of 3 seeds"
    assert reaching([NEVER]) == "not reached by 1 of 1 seed"


def test_seeds_in_which_an_arm_never_reaches_a_target_are_counted():
    # Rounds infinity, 5, 3, 7 and 2 less those in reverse: infinity, -2, 0, 2, -infinity.
    expected = "not reached by 2 of 5 seeds; the median is 0.00 rounds"
    assert reaching([NEVER, 4, 2, 6, 1], AVG) == expected
    # Neither arm reaches it for the second seed.
    assert reaching([1, NEVER, 3], AVG) == "not reached by 1 of 3 seeds"


def test_other_numbers_that_are_not_finite_are_not_shown():
    results = make_results({"fedprox": [[math.inf], [1.0]], "fedavg": [[1.0], [1.0]]}, "train_loss")
    claim = make_claim(quantity={"metric": "train_loss"})
    assert "- **Measured:** — (n = 2)\n" in page(claim, figure1=results)
