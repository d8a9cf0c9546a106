"""The generated parts of pages, and that those of the repository are what is generated."""

import json
import sys

import numpy as np
import pytest
from fedprox import pages, report, stored
from fedprox.figures import FIGURES
from fedprox.pages import figure_part
from fedprox.report import rebuild
from fedprox_runs import FEDAVG, lay_out, make_arm, write_run

from common.analysis.results import Results
from common.analysis.runs import load_runs
from common.errors import UserInputError

NOT_RUN = "Not run yet: there are no stored results."


@pytest.fixture
def place(tmp_path, monkeypatch):
    return lay_out(tmp_path / "repository", monkeypatch)


@pytest.fixture
def stored_results(tmp_path, place):
    """Five seeds of two arms of figure1_mnist, one 25 points above the other."""
    accuracies = np.arange(5) / 8
    runs = [
        *make_arm([(accuracy,) for accuracy in accuracies.tolist()], **FEDAVG),
        *make_arm([(accuracy,) for accuracy in (accuracies + 0.25).tolist()]),
    ]
    for number, run in enumerate(runs):
        write_run(tmp_path / "runs" / str(number), run)
    results = Results.of(load_runs([tmp_path / "runs"]))
    results.save(place.results, "figure1_mnist")
    return results


def part(page, name):
    return page.partition(f"<!-- begin: {name} -->")[2].partition(f"<!-- end: {name} -->")[0]


@pytest.mark.parametrize("name", FIGURES)
def test_an_experiment_without_stored_results_says_so(place, name):
    made = figure_part(name, place.page.parent, None)
    assert made.startswith(FIGURES[name].question)
    assert f"python -m fedprox.reproduce {name}\n" in made
    assert made.endswith(NOT_RUN)
    assert "![" not in made


def test_an_experiment_with_stored_results_has_cost_figure_and_tables(place, stored_results):
    made = figure_part("figure1_mnist", place.page.parent, stored_results)
    assert "```bash\npython -m fedprox.reproduce figure1_mnist\n```" in made
    assert "\n\n*10 runs, 10 min 10 s one after another, on a processor with 2 cores, " in made
    assert "`engine=inline`" in made
    assert "`0123456`" in made
    assert "| FedProx, μ = 1 " in made
    assert NOT_RUN not in made


def test_a_page_refers_to_the_figure_from_where_it_is(place, stored_results):
    title = FIGURES["figure1_mnist"].title
    for page in (place.readme, place.page):
        made = figure_part("figure1_mnist", page.parent, stored_results)
        picture = made.partition(f"![{title}](")[2].partition(")")[0]
        assert (page.parent / picture).resolve() == place.results / "figure1_mnist.png"


def test_pages_are_filled_and_claims_judged(place, stored_results):
    rebuild()
    for page in (place.readme, place.page):
        text = page.read_text()
        assert text.startswith("# Of the ")
        assert "\nBetween.\n" in text
        assert "| FedProx, μ = 1 " in part(text, "figure1_mnist")
        assert part(text, "figure2").strip().endswith(NOT_RUN)
        assert "\nOf 1 claims: 1 " in part(text, "claims")
        assert "| [partial-work-helps](#partial-work-helps) | " in part(text, "claims")
    (claim,) = json.loads((place.results / "claims.json").read_text())
    assert (claim["id"], claim["verdict"]) == ("partial-work-helps", "reproduced")
    assert (claim["value"], claim["low"], claim["high"]) == (0.25, 0.25, 0.25)
    assert claim["command"] == "python -m fedprox.reproduce figure1_mnist"


def test_rebuilding_again_changes_nothing(place, stored_results):
    rebuild()
    files = [place.readme, place.page, place.results / "claims.json"]
    once = [file.read_bytes() for file in files]
    rebuild()
    assert [file.read_bytes() for file in files] == once


def test_claims_without_stored_results_are_untestable(place):
    rebuild()
    (claim,) = json.loads((place.results / "claims.json").read_text())
    assert (claim["verdict"], claim["value"]) == ("untestable_here", None)
    assert "could not be tested here" in part(place.page.read_text(), "claims")


def test_damaged_claims_are_refused_and_leave_the_pages_as_they_were(place):
    before = place.page.read_text()
    place.claims.write_text("- id: [")
    with pytest.raises(UserInputError, match=r"claims\.yaml' is not allowed"):
        rebuild()
    assert place.page.read_text() == before


@pytest.fixture
def rebuilt(monkeypatch):
    """What `python -m fedprox.report` would write: path -> content, which is None for a figure."""
    written = {}
    for name, module in [*sys.modules.items()]:
        if name.startswith(("common.", "fedprox.")) and hasattr(module, "write_atomically"):
            monkeypatch.setattr(module, "write_atomically", written.__setitem__)
    monkeypatch.setattr("fedprox.report.draw", lambda _, __, path: written.update({path: None}))
    report.rebuild()
    return written


def test_the_repository_has_what_is_made_from_its_stored_results(rebuilt):
    """Otherwise: python -m fedprox.report."""
    assert {pages.README, pages.PAGE, pages.RESULTS / "claims.json"} <= rebuilt.keys()
    drifted = [
        str(path.relative_to(stored.FOLDER.parents[1]))
        for path, content in rebuilt.items()
        if not path.exists() or content not in (None, path.read_bytes())
    ]
    assert drifted == []


@pytest.mark.parametrize("suffix", ["csv", "parquet", "png", "tex"])
def test_the_repository_has_every_file_of_the_results_that_it_has(suffix):
    names = {file.stem for file in stored.RESULTS.glob(f"*.{suffix}")}
    assert names == {name for name in FIGURES if Results.find(stored.RESULTS, name)}
