"""The pages: one order of sections for all baselines, links that lead somewhere, numbers that were
measured."""

import re

import pytest
from markdown_pages import (
    BASELINES,
    REPOSITORY,
    anchors,
    broken_links,
    links,
    parts,
    pictures,
    prose,
    section,
    sections,
)

SECTIONS = [
    "The question",
    "What we found",
    "Protocol: the original's and ours",
    "How to read the figures and tables",
    "Experiments",
    "Audit of claims",
    "What is not here",
]
PAGES = [REPOSITORY / "docs" / f"{folder.name}.md" for folder in BASELINES]
READMES = [
    REPOSITORY / "README.md",
    *(file for folder in BASELINES for file in sorted(folder.glob("**/README.md"))),
]
EVERY_FILE = [*sorted((REPOSITORY / "docs").glob("*.md")), *READMES]
# "6.75 [5.56, 7.94]" and "+0.1 ± 0.7".
INTERVAL = re.compile(r"-?[\d,.]+ \[-?[\d,.]+, -?[\d,.]+\]|[\d,.]+ ± [\d,.]*\d")


def name(file):
    return str(file.relative_to(REPOSITORY))


def text_of(file):
    return file.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_page_of_a_baseline_has_the_sections_of_all_in_their_order(page):
    assert sections(text_of(page)) == SECTIONS


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_reader_finds_findings_protocol_experiments_and_verdicts(page):
    text = text_of(page)
    assert links(section(text, "What we found"))
    assert "\n|" in section(text, "Protocol: the original's and ours")
    assert next(iter(parts(section(text, "Experiments")))) == "experiments"
    assert [*parts(text)][-1] == "claims"
    assert "claims" in parts(section(text, "Audit of claims"))


@pytest.mark.parametrize("file", EVERY_FILE, ids=name)
def test_every_link_leads_somewhere(file):
    assert broken_links(file) == []


@pytest.mark.parametrize("file", [*PAGES, *READMES], ids=name)
def test_a_figure_is_in_a_generated_part(file):
    assert pictures(prose(text_of(file))) == []


@pytest.mark.parametrize("file", [*PAGES, *READMES], ids=name)
def test_an_interval_that_is_quoted_was_measured(file):
    """It stands in a part that is generated from stored results, on the page of a baseline."""
    generated = "".join(part for page in PAGES for part in parts(text_of(page)).values())
    quoted = " ".join(prose(text_of(file)).split())
    assert {*INTERVAL.findall(quoted)} - {*INTERVAL.findall(generated)} == set()


def test_anchors_are_those_of_github():
    page = "# One, two\n## Does α do `it`?\n```\n# no\n```\n### 72.6 %\n## One, two\n##### deep\n"
    assert anchors(page) == {"one-two", "does-α-do-it", "726-", "one-two-1"}


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# Here\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Top\n[a](#top) [b](other.md#here) [c [1, 2]](https://x.y) `[d](none)` ![e](none.png)\n"
        "[f](other.md#there) [g](#bottom)\n"
    )
    assert broken_links(page) == ["none.png", "other.md#there", "#bottom"]
