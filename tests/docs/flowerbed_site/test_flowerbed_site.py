"""A site of a made-up baseline, built: what is on its pages is what its results say."""

import re
import sys
from dataclasses import replace
from types import ModuleType

import pytest
from flowerbed_site import benchmarks, figures, repository
from made_runs import write_run
from sphinx.testing.util import SphinxTestApp
from sphinx.util.docutils import docutils_namespace
from toy_replication import AVG, lay_out, make_arm

from common.analysis.results import Results
from common.analysis.runs import load_runs
from common.replication.report import rebuild

# A site is built in each.
pytestmark = pytest.mark.slow

CONF = 'extensions = ["myst_parser", "sphinx_design", "flowerbed_site"]\nmyst_heading_anchors = 4\n'
INDEX = """# Start

```{baseline-cards}
```

```{baselines-toctree}
```

```{api-toctree}
```

```{toctree}
claims
pictures
```
"""
PICTURES = """# Pictures

```{partition} IID, 10 clients
iid(num_examples, num_clients=10, rng=rng)
```
"""


class Site:
    def __init__(self, toy, runs):
        self.toy = toy
        self.runs = runs

    def measure(self, accuracy):
        """Store results of five seeds, FedProx at some accuracy and FedAvg at 0.25."""
        arms = [make_arm([(0.25,)] * 5, **AVG), make_arm([(accuracy,)] * 5)]
        for number, run in enumerate(run for arm in arms for run in arm):
            write_run(self.runs / f"{accuracy}-{number}", run)
        folders = sorted(self.runs.glob(f"{accuracy}-*"))
        Results.of(load_runs(folders)).save(self.toy.results, "first")

    def build(self):
        for cached in (repository.stored, repository.judged, figures.drawings):
            cached.cache_clear()
        with docutils_namespace():
            app = SphinxTestApp("html", srcdir=self.toy.page.parent, warningiserror=True)
            app.build()
            app.cleanup()

    def html(self, page):
        return (self.toy.page.parent / "_build" / "html" / f"{page}.html").read_text()


@pytest.fixture
def site(tmp_path, monkeypatch):
    root = tmp_path / "repository"
    toy = lay_out(root, monkeypatch)
    docs = toy.page.parent
    front_matter = "---\ntitle: A toy\nurl: https://example.org\n---\n\n"
    toy.readme.write_text(front_matter + toy.readme.read_text() + "\n[Page](../../docs/toy.md)\n")
    toy.page.write_text(
        toy.page.read_text() + "\nRun it as in [the README](../baselines/toy/README.md).\n"
    )
    (docs / "conf.py").write_text(CONF)
    (docs / "index.md").write_text(INDEX)
    (docs / "claims.md").write_text("# Claims\n\n```{claims-table}\n```\n")
    (docs / "pictures.md").write_text(PICTURES)
    (docs / "_static").mkdir()
    (root / "pyproject.toml").write_text("")
    monkeypatch.setattr(repository, "ROOT", root)
    monkeypatch.setattr(repository, "DOCS", docs)
    monkeypatch.setattr(repository, "replications", lambda: {"toy": toy})
    monkeypatch.setattr(benchmarks, "draw", None)
    made = Site(toy, tmp_path / "runs")
    made.measure(0.5)
    rebuild(toy)
    return made


def test_a_changed_result_changes_the_pages(site):
    site.build()
    before = {page: site.html(page) for page in ("toy", "running/toy", "claims", "index")}
    assert '<td class="text-right"><p>50.0 ± 0.0</p></td>' in before["toy"]
    assert "25.0 [25.0, 25.0] points (n = 5)" in before["claims"]
    assert "1 claim: 1 reproduced" in before["index"]
    site.measure(0.125)
    site.build()
    after = {page: site.html(page) for page in before}
    assert "12.5 ± 0.0" in after["toy"]
    assert "12.5 ± 0.0" in after["running/toy"]
    assert "-12.5 [-12.5, -12.5] points (n = 5)" in after["claims"]
    assert "1 claim: 1 not reproduced" in after["index"]
    assert "50.0 ± 0.0" not in after["toy"]
    assert figure(before["toy"]) != figure(after["toy"])


def test_a_changed_claim_changes_the_pages(site):
    site.build()
    site.toy.claims.write_text(site.toy.claims.read_text().replace("above FedAvg", "beyond FedAvg"))
    site.build()
    assert "FedProx is beyond FedAvg." in site.html("claims")
    assert "FedProx is beyond FedAvg." in site.html("toy")


def test_a_published_curve_comes_behind_the_figures_of_both_pages(site):
    site.build()
    before = [figure(site.html(page)) for page in ("toy", "running/toy")]
    site.toy.published.mkdir()
    rows = "algorithm,mu,round,test_accuracy\navg,0.0,1,0.3\navg,0.0,2,0.4\n"
    (site.toy.published / "first.csv").write_text(rows)
    site.build()
    after = [figure(site.html(page)) for page in ("toy", "running/toy")]
    assert all("published" not in svg for svg in before)
    assert all("published" in svg for svg in after)


def test_first_results_of_an_experiment_come_into_the_pages(site):
    site.build()
    assert 'aria-label="The second figure"' not in site.html("toy")
    for suffix in ("csv", "parquet"):
        first = site.toy.results / f"first.{suffix}"
        (site.toy.results / f"second.{suffix}").write_bytes(first.read_bytes())
    site.build()
    assert 'aria-label="The second figure"' in site.html("toy")


def test_a_new_baseline_comes_into_the_lists(site, monkeypatch):
    site.build()
    other = replace(site.toy, package="other", page=site.toy.page.parent / "other.md")
    other.page.write_text("# Another\n")
    (site.toy.folder / "other").mkdir()
    (site.toy.folder / "other" / "__init__.py").write_text('"""Another."""\n')
    package = ModuleType("other", "Another.")
    monkeypatch.setitem(sys.modules, "other", package)
    monkeypatch.setattr(repository, "replications", lambda: {"toy": site.toy, "other": other})
    (repository.ROOT / "pyproject.toml").write_text("# changed\n")
    site.build()
    assert 'href="other.html"' in site.html("index")
    assert 'data-baseline="other"' in site.html("claims")


def figure(html):
    return re.search(r"<svg.*?</svg>", html, re.DOTALL)[0]


def test_pictures_of_results_are_part_of_the_page(site):
    site.build()
    assert "The first figure" in figure(site.html("toy"))
    assert "first.png" not in site.html("toy")


def test_the_page_and_the_readme_lead_to_each_other(site):
    site.build()
    assert 'href="running/toy.html"' in site.html("toy")
    assert 'href="../toy.html"' in site.html("running/toy")


def test_a_claim_of_the_table_leads_to_its_section(site):
    site.build()
    assert 'href="toy.html#prox-helps"' in site.html("claims")
    assert 'id="prox-helps"' in site.html("toy")


def test_a_partition_stands_below_its_code_and_in_numbers(site):
    site.build()
    html = site.html("pictures")
    assert "num_clients" in html
    assert "6,000 to 6,000 examples" in html
    assert "<svg" in html


def test_the_page_of_a_baseline_that_is_gone_goes_too(site):
    stale = site.toy.page.parent / "running" / "gone.md"
    stale.parent.mkdir()
    stale.write_text("# Gone\n")
    site.build()
    assert not stale.exists()
