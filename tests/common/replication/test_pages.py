"""The generated parts of a baseline's pages."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_runs import write_run
from toy_replication import AVG, FIGURES, lay_out, make_arm

from common.analysis.results import Results
from common.analysis.runs import load_runs
from common.errors import UserInputError
from common.replication import pages
from common.replication.pages import figure_part

NOT_RUN = "Not run yet: there are no stored results."


@pytest.fixture
def toy(tmp_path, monkeypatch):
    return lay_out(tmp_path / "repository", monkeypatch)


@pytest.fixture
def results(tmp_path):
    """Five seeds of two arms, one 25 points above the other."""
    accuracies = np.arange(5) / 8
    runs = [
        *make_arm([(accuracy,) for accuracy in accuracies.tolist()], **AVG),
        *make_arm([(accuracy,) for accuracy in (accuracies + 0.25).tolist()]),
    ]
    for number, run in enumerate(runs):
        write_run(tmp_path / "runs" / str(number), run)
    return Results.of(load_runs([tmp_path / "runs"]))


def fill(toy, **stored):
    pages.fill(toy, stored, pages.judge(toy, stored))


def part(page, name):
    return page.partition(f"<!-- begin: {name} -->")[2].partition(f"<!-- end: {name} -->")[0]


@pytest.mark.parametrize("name", FIGURES)
def test_an_experiment_without_stored_results_says_so(toy, name):
    made = figure_part(toy, name, toy.page.parent, None)
    assert made.startswith(FIGURES[name].question)
    assert f"python -m toy.reproduce {name}\n" in made
    assert made.endswith(NOT_RUN)
    assert "![" not in made


def test_an_experiment_without_stored_results_says_why_where_that_is_known(toy):
    figure = replace(FIGURES["first"], no_results="it rained")
    made = figure_part(replace(toy, figures={"first": figure}), "first", toy.page.parent, None)
    assert made.endswith("\n\nThere are no stored results: it rained.")


def test_an_experiment_with_stored_results_has_cost_figure_and_tables(toy, results):
    made = figure_part(toy, "first", toy.page.parent, results)
    assert "```bash\npython -m toy.reproduce first\n```" in made
    assert "\n\n*10 runs take 10 min 10 s one after another (a processor, 2 cores, " in made
    assert "`engine=inline`" in made
    assert "`0123456`" in made
    assert "| FedProx, μ = 1 " in made
    assert NOT_RUN not in made


def test_a_page_refers_to_the_figure_from_where_it_is(toy, results):
    for page in (toy.readme, toy.page):
        made = figure_part(toy, "first", page.parent, results)
        picture = made.partition("![The first figure](")[2].partition(")")[0]
        assert (page.parent / picture).resolve() == toy.results / "first.png"


def test_pages_are_filled_and_claims_judged(toy, results):
    fill(toy, first=results)
    for page in (toy.readme, toy.page):
        text = page.read_text()
        assert text.startswith("# Of the ")
        assert "\nBetween.\n" in text
        assert "| FedProx, μ = 1 " in part(text, "first")
        assert part(text, "second").strip().endswith(NOT_RUN)
        assert "\nOf 1 claim: 1 " in part(text, "claims")
        assert "| [prox-helps](#prox-helps) | " in part(text, "claims")
    (claim,) = json.loads((toy.results / "claims.json").read_text())
    assert (claim["id"], claim["verdict"]) == ("prox-helps", "reproduced")
    assert (claim["value"], claim["low"], claim["high"]) == (0.25, 0.25, 0.25)
    assert claim["command"] == "python -m toy.reproduce first"


def test_filling_again_changes_nothing(toy, results):
    files = [toy.readme, toy.page, toy.results / "claims.json"]
    fill(toy, first=results)
    once = [file.read_bytes() for file in files]
    fill(toy, first=results)
    assert [file.read_bytes() for file in files] == once


def test_claims_without_stored_results_are_untestable(toy):
    fill(toy)
    (claim,) = json.loads((toy.results / "claims.json").read_text())
    assert (claim["verdict"], claim["value"]) == ("untestable_here", None)
    assert "could not be tested here" in part(toy.page.read_text(), "claims")


def test_a_front_page_has_figure_and_accuracies_alone(toy, results, tmp_path):
    front = tmp_path / "repository" / "README.md"
    front.write_text("Before.\n<!-- begin: first -->\n<!-- end: first -->\nBehind.\n")
    toy = replace(toy, front_pages=(front,))
    fill(toy, first=results)
    text = front.read_text()
    assert text.startswith("Before.\n")
    assert text.endswith("\nBehind.\n")
    made = part(text, "first")
    assert "![The first figure](baselines/toy/results/first.png)\n\nMean over the last " in made
    assert made.count("| FedProx, μ = 1 ") == 1
    assert "python -m" not in made


def test_a_front_page_shows_no_experiment_without_results(toy, tmp_path):
    front = tmp_path / "README.md"
    front.write_text("<!-- begin: first -->\n<!-- end: first -->\n")
    with pytest.raises(UserInputError, match=r"^the part 'first' of the page is not allowed: "):
        fill(replace(toy, front_pages=(front,)))


def test_a_baseline_has_parts_of_its_own(toy, results):
    toy.page.write_text("<!-- begin: cost -->\n<!-- end: cost -->\n")

    def more_parts(stored):
        return {"cost": " and ".join(f"{name}: {len(r.runs)}" for name, r in stored.items())}

    fill(replace(toy, more_parts=more_parts), first=results)
    assert part(toy.page.read_text(), "cost").strip() == "first: 10"
    with pytest.raises(UserInputError, match=r"^the part 'cost' of the page is not allowed: "):
        fill(toy, first=results)
