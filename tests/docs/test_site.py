"""The site that `make docs` builds, in a browser: what a reader meets on every page of it."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from shutil import rmtree

import pytest
from browser import phone, prefer_colours, served, visit, without_scripts
from contrast import faint, marks
from html_files import dead_links, pages, repeated_ids
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.color import Color
from selenium.webdriver.support.ui import Select, WebDriverWait

from common.analysis.audit_page import VERDICTS

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "_build" / "html"
CLAIMS = {file.parents[1].name: file for file in ROOT.glob("baselines/*/results/claims.json")}
BASELINES = sorted(CLAIMS)

# The build takes most of it, the first time.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def site():
    """The folder of the site, as it is built from the sources and results of the moment."""
    options = ["--jobs", "auto", "--fail-on-warning", "--keep-going", "--quiet"]
    build = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "docs", SITE],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if build.returncode:
        rmtree(SITE)  # As in the Makefile: what warned must be read again.
        pytest.fail(f"the site does not build:\n{build.stdout}", pytrace=False)
    return SITE


@pytest.fixture(scope="session")
def address(site):
    with served(site) as at:
        yield at


@pytest.fixture
def reader(browser, address):
    """The browser of one who has not chosen any colours; the system prefers light ones."""
    browser.execute_cdp_cmd(
        "Storage.clearDataForOrigin", {"origin": address, "storageTypes": "local_storage"}
    )
    prefer_colours(browser, "light")
    return browser


class TestFiles:
    def test_every_link_leads_to_what_is_there(self, site):
        assert_none(dead_links(site))

    def test_no_id_is_given_twice(self, site):
        assert_none(repeated_ids(site))


class TestEveryPage:
    @pytest.fixture(scope="class")
    def visits(self, browser, site, address):
        """What is wrong with every page: page -> faults."""
        prefer_colours(browser, "light")
        return {page: visit(browser, address, page) for page in pages(site)}

    @staticmethod
    def faults(visits, kind):
        return [
            f"{page}: {fault}" for page, seen in visits.items() for fault in getattr(seen, kind)
        ]

    def test_the_pages_are_those_of_the_site(self, visits):
        assert {"index.html", "claims.html", *(f"{name}.html" for name in BASELINES)} <= set(visits)

    def test_the_console_is_silent(self, visits):
        assert_none(self.faults(visits, "console"))

    def test_everything_that_is_asked_for_is_there(self, visits):
        assert_none(self.faults(visits, "failed"))

    def test_nothing_is_asked_of_another_server(self, visits):
        assert_none(self.faults(visits, "elsewhere"))

    def test_every_picture_is_seen(self, visits):
        assert_none(self.faults(visits, "blank"))

    def test_it_fits_a_phone(self, visits):
        assert_none(self.faults(visits, "too_wide"))


class TestClaims:
    @pytest.fixture
    def table(self, reader, address):
        return ClaimsTable(reader, f"{address}claims.html")

    def test_all_claims_are_shown_at_first(self, table):
        table.open()
        claims = read_claims()
        assert Counter((row["baseline"], row["verdict"]) for row in table.shown()) == claims
        assert table.count() == f"{claims.total()} of {claims.total()} claims"

    def test_a_verdict_says_how_many_have_it(self, table):
        table.open()
        for verdict, number in per_verdict(read_claims()).items():
            assert table.label(verdict).text.endswith(f"({number})")

    def test_all_are_shown_without_scripts(self, table, reader):
        with without_scripts(reader):
            table.open()
        assert len(table.shown()) == read_claims().total()

    @pytest.mark.parametrize("verdict", [words.replace(" ", "-") for words in VERDICTS.values()])
    def test_by_verdict(self, verdict, table):
        table.open()
        for other in {*table.verdicts()} - {verdict}:
            table.label(other).click()
        assert {row["verdict"] for row in table.shown()} == {verdict}
        assert_is_told(table, per_verdict(read_claims())[verdict])

    @pytest.mark.parametrize("baseline", BASELINES)
    def test_by_baseline(self, baseline, table):
        table.open()
        table.choose_baseline(baseline)
        assert {row["baseline"] for row in table.shown()} == {baseline}
        assert_is_told(table, len(json.loads(CLAIMS[baseline].read_text())))
        table.choose_baseline("")
        assert_is_told(table, read_claims().total())

    def test_by_the_sign_of_micro_and_without_spaces(self, table):
        table.open()
        table.write("\u00b5=0")
        expected = [row["text"] for row in table.rows() if "\u03bc = 0" in row["text"]]
        assert [row["text"] for row in table.shown()] == expected
        assert expected

    def test_by_words_in_any_order_and_case(self, table):
        table.open()
        table.write("stragglers FEDPROX")
        expected = [
            row["text"]
            for row in table.rows()
            if all(word in row["text"].lower() for word in ("stragglers", "fedprox"))
        ]
        assert [row["text"] for row in table.shown()] == expected
        assert_is_told(table, len(expected))
        assert 0 < len(expected) < read_claims().total()

    def test_by_words_that_no_claim_has(self, table):
        table.open()
        table.write("xylophone")
        assert_is_told(table, 0)

    def test_all_at_once(self, table):
        table.open()
        choose_some(table)
        expected = [
            row["text"]
            for row in table.rows()
            if (row["baseline"], row["verdict"]) == ("fedprox", "reproduced")
            and "mnist" in row["text"].lower()
        ]
        assert [row["text"] for row in table.shown()] == expected
        assert_is_told(table, len(expected))
        assert expected

    def test_the_choice_stands_in_the_address(self, table, reader):
        table.open()
        whole = reader.current_url
        choose_some(table)
        chosen, shown = reader.current_url, table.shown()
        assert chosen == f"{whole}?verdict=reproduced&baseline=fedprox&words=mnist"
        table.open()
        assert table.shown() != shown
        reader.get(chosen)
        assert table.shown() == shown
        reader.refresh()
        assert table.shown() == shown
        assert_is_told(table, len(shown))
        assert [name for name in table.verdicts() if table.box(name).is_selected()] == [
            "reproduced"
        ]

    def test_no_choice_leaves_the_address_as_it_was(self, table, reader):
        table.open()
        whole = reader.current_url
        table.write("mnist")
        assert reader.current_url == f"{whole}?words=mnist"
        table.write("")
        assert reader.current_url == whole

    def test_it_filters_on_a_phone(self, table, reader):
        with phone(reader):
            table.open()
            table.choose_baseline("fedprox")
            assert {row["baseline"] for row in table.shown()} == {"fedprox"}


class TestFigures:
    @pytest.fixture
    def faint_marks(self, reader, site, address):
        """Returns the marks of given kinds that are hard to see, of the figures of all pages."""

        def find(*kinds):
            found = []
            for page in illustrated_pages(site):
                reader.get(address + page)
                its = [mark for mark in marks(reader) if mark.kind in kinds]
                found += [f"{page}: {fault}" for fault in faint(its)]
            return found

        return find

    @pytest.fixture(params=BASELINES)
    def page(self, request, reader, address):
        """The page of a baseline."""
        reader.get(f"{address}{request.param}.html")
        return reader

    def test_a_baseline_has_one(self, page):
        assert {mark.kind for mark in marks(page)} == {"text", "curve"}

    # The colours of curves are not dark enough for it in light: Okabe and Ito (2008) chose them to
    # be told apart. There, its name beside a curve has to be legible.
    def test_text_is_legible_in_light(self, faint_marks, reader):
        assert_none(faint_marks("text"))
        assert not is_dark(reader)

    def test_all_is_legible_in_dark_that_the_system_prefers(self, faint_marks, reader):
        prefer_colours(reader, "dark")
        assert_none(faint_marks("text", "curve"))
        assert is_dark(reader)

    def test_all_is_legible_in_dark_that_a_reader_chooses(self, faint_marks, reader, address):
        reader.get(f"{address}index.html")
        button = reader.find_element(By.CSS_SELECTOR, ".content-icon-container .theme-toggle")
        for _ in ("light", "dark", "as the system"):  # In the theme's order, whatever it is.
            if not is_dark(reader):
                button.click()
        assert_none(faint_marks("text", "curve"))
        assert is_dark(reader)

    def test_text_can_be_selected(self, page):
        word = page.execute_script(
            """const words = [...document.querySelectorAll(".figure-svg text")]
                 .filter((text) => /^[a-z]{4,}$/i.test(text.textContent));
               words[0].scrollIntoView({ behavior: "instant", block: "center" });
               return words[0];"""
        )
        ActionChains(page).double_click(word).perform()
        assert page.execute_script("return getSelection().toString()").strip() == word.text


def test_the_search_finds_a_word_without_a_network(reader, address):
    reader.get(f"{address}search.html?q=proximal")
    found = WebDriverWait(reader, 20).until(
        lambda page: page.find_elements(By.CSS_SELECTOR, "#search-results li a")
    )
    assert "fedprox.html" in " ".join(link.get_attribute("href") for link in found)


def assert_none(faults):
    """Assert that there are no faults; tells all of them, which a comparison would not."""
    assert not faults, "\n" + "\n".join(faults)


class ClaimsTable:
    """The page of all claims, as its reader uses it."""

    def __init__(self, browser, address):
        self._browser = browser
        self._address = address

    def open(self):
        self._browser.get(self._address)

    def rows(self):
        return self._browser.execute_script(
            """return [...document.querySelectorAll(".claims-table tbody tr")].map((row) => ({
                 baseline: row.dataset.baseline, verdict: row.dataset.verdict,
                 text: row.textContent, isShown: row.checkVisibility()}))"""
        )

    def shown(self):
        return [row for row in self.rows() if row["isShown"]]

    def count(self):
        return self._find(".claims-count").text

    def verdicts(self):
        boxes = self._browser.find_elements(By.NAME, "verdict")
        return [box.get_attribute("value") for box in boxes]

    def box(self, verdict):
        return self._find(f'[name="verdict"][value="{verdict}"]')

    def label(self, verdict):
        return self.box(verdict).find_element(By.XPATH, "..")

    def choose_baseline(self, name):
        """Choose one by keys: selenium's own way of choosing does not tell the page all of it."""
        choice = self._find('[name="baseline"]')
        names = [option.get_attribute("value") for option in Select(choice).options]
        choice.send_keys(Keys.HOME, *[Keys.ARROW_DOWN] * names.index(name))

    def write(self, words):
        self._find('[name="words"]').send_keys(Keys.CONTROL + "a", Keys.NULL, Keys.DELETE, words)

    def _find(self, selector):
        return self._browser.find_element(By.CSS_SELECTOR, f".claims {selector}")


def read_claims():
    """Return how many claims have a baseline and a verdict, by the stored results."""
    return Counter(
        (baseline, VERDICTS[claim["verdict"]].replace(" ", "-"))
        for baseline, file in CLAIMS.items()
        for claim in json.loads(file.read_text(encoding="utf-8"))
    )


def per_verdict(claims):
    numbers = Counter()
    for (_, verdict), number in claims.items():
        numbers[verdict] += number
    return numbers


def choose_some(table):
    for verdict in {*table.verdicts()} - {"reproduced"}:
        table.label(verdict).click()
    table.choose_baseline("fedprox")
    table.write("mnist")


def assert_is_told(table, number):
    assert len(table.shown()) == number
    assert table.count() == f"{number} of {read_claims().total()} claims"


def illustrated_pages(site):
    return [page for page in pages(site) if 'class="figure-svg"' in (site / page).read_text()]


def is_dark(page):
    """Return whether light stands on dark in the page."""
    body = page.find_element(By.TAG_NAME, "body")
    text, ground = (
        Color.from_string(body.value_of_css_property(name))
        for name in ("color", "background-color")
    )
    return text.red + text.green + text.blue > ground.red + ground.green + ground.blue
