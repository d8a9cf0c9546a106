"""Each baseline's README follows the front matter and sections of Flower's baselines, and shows the
figure of its page."""

import re

import pytest
import yaml
from markdown_pages import BASELINES, REPOSITORY, broken_links, parts, pictures, sections

SECTIONS = [
    "About this baseline",
    "Experimental Setup",
    "Environment Setup",
    "Running the Experiments",
    "Expected Results",
]
# What stands in bold at the beginning of a paragraph, before and in these sections.
ENTRIES = [
    "**Paper:**",
    "**Authors:**",
    "**In short:**",
    "## About this baseline",
    "**What's implemented:**",
    "**Datasets:**",
    "**Hardware Setup:**",
    "**Contributors:**",
    "## Experimental Setup",
    "**Task:**",
    "**Model:**",
    "**Dataset:**",
    "**Training Hyperparameters:**",
]
# What common/scaffold leaves to be said, and the address that it puts in a paper's place.
PLACEHOLDER = re.compile(r"\bTODO\b|0000\.00000")

pytestmark = pytest.mark.parametrize("folder", BASELINES, ids=lambda folder: folder.name)


def readme(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def page(folder):
    return (REPOSITORY / "docs" / f"{folder.name}.md").read_text(encoding="utf-8")


def figures(text, folder):
    return [(folder / target).resolve() for target in pictures(text)]


def test_the_front_matter_is_that_of_flowers_baselines(folder):
    matched = re.match(r"---\n(.*?)\n---\n\n# \S", readme(folder), re.DOTALL)
    assert matched
    front = yaml.safe_load(matched[1])
    assert [*front] == ["title", "url", "labels", "dataset"]
    assert front["title"]
    assert front["url"].startswith("https://")
    # Flower asks for 4 to 10 labels of a word or two.
    assert 4 <= len(front["labels"]) <= 10
    assert all(1 <= len(label.split()) <= 2 for label in front["labels"])
    assert front["dataset"]


def test_sections_and_entries_are_in_flowers_order(folder):
    text = readme(folder)
    assert sections(text) == SECTIONS
    assert re.search(r"^> Note: .*cite", text, re.MULTILINE)
    found = [text.find(f"\n{entry}") for entry in ENTRIES]
    assert -1 not in found
    assert found == sorted(found)


def test_the_figure_is_that_of_the_page(folder):
    shown, of_page = parts(readme(folder)), parts(page(folder))
    assert shown.keys() <= of_page.keys()
    first = next(name for name in of_page if name != "experiments")
    assert next(iter(shown)) == first
    of_readme = figures(readme(folder), folder)
    assert {*of_readme} <= {*figures(page(folder), REPOSITORY / "docs")}
    assert all(figure.is_file() for figure in of_readme)
    assert {figure.parent for figure in of_readme} <= {folder / "results"}
    ran = (folder / "results" / f"{first}.parquet").exists()
    assert (folder / "results" / f"{first}.png" in of_readme) == ran


def test_what_has_results_has_no_placeholders(folder):
    results = [*(folder / "results").glob("*.csv")]
    said = readme(folder) + page(folder)
    assert not (results and PLACEHOLDER.findall(said))


def test_every_link_leads_somewhere(folder):
    assert broken_links(folder / "README.md") == []
