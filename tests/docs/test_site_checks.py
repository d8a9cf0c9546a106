"""What tests/docs/test_site.py finds out about pages, on pages that are made to be wrong."""

import base64
import io

import numpy as np
import pytest
from browser import phone, prefer_colours, served, visit, without_scripts
from contrast import faint, marks
from html_files import dead_links, pages, repeated_ids
from PIL import Image

FAULTLESS = """<!doctype html><html lang="en"><head><title>Page</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
</head><body>{}</body></html>"""
SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0h9v9z"/></svg>'


def write_page(folder, body, name="page.html"):
    (folder / name).write_text(FAULTLESS.format(body))


class TestFiles:
    def test_pages_are_found_in_all_folders(self, tmp_path):
        (tmp_path / "api").mkdir()
        write_page(tmp_path, "")
        write_page(tmp_path, "", "api/module.html")
        assert pages(tmp_path) == ["api/module.html", "page.html"]

    @pytest.mark.parametrize(
        "link",
        [
            "",
            "#",
            "#here",
            "#caf%C3%A9",
            "page.html?verdict=reproduced#here",
            "api/",
            "api/index.html",
            "api/../page.html",
            "a%20picture.svg#part",
            "https://example.org/nothing",
            "mailto:nobody@example.org",
            "data:,",
        ],
    )
    def test_a_link_to_what_there_is_is_alive(self, link, tmp_path):
        (tmp_path / "api").mkdir()
        write_page(tmp_path, "", "api/index.html")
        (tmp_path / "a picture.svg").write_text(SQUARE)
        write_page(tmp_path, f'<p id="here"></p><p id="café"></p><a href="{link}">Link</a>')
        assert dead_links(tmp_path) == []

    @pytest.mark.parametrize(
        "element",
        [
            '<a href="{}">Link</a>',
            '<img src="{}">',
            '<script src="{}"></script>',
            '<link rel="stylesheet" href="{}">',
            '<svg><use xlink:href="{}"/></svg>',
        ],
    )
    @pytest.mark.parametrize(
        "link",
        [
            "nothing.html",
            "#nothing",
            "page.html#nothing",
            "other.html#here",
            "folder",
            "/page.html",
            "../outside.html",
        ],
    )
    def test_a_link_to_nothing_is_dead(self, element, link, tmp_path):
        site = tmp_path / "site"
        (site / "folder").mkdir(parents=True)
        write_page(tmp_path, "", "outside.html")
        write_page(site, "", "other.html")
        write_page(site, '<p id="here"></p>' + element.format(link))
        assert dead_links(site) == [f"page.html: {link}"]

    def test_an_id_is_given_once(self, tmp_path):
        write_page(tmp_path, '<p id="once"></p><p id="twice"></p><b id="twice"></b>')
        write_page(tmp_path, '<p id="once"></p>', "other.html")
        assert repeated_ids(tmp_path) == ["page.html: twice (of 2 elements)"]


@pytest.mark.slow
class TestVisit:
    @pytest.fixture
    def visited(self, browser, tmp_path):
        """Visits a page with a given body."""

        def visit_page(body):
            write_page(tmp_path, body)
            with served(tmp_path) as address:
                return visit(browser, address, "page.html")

        return visit_page

    def test_nothing_is_wrong_with_a_faultless_page(self, visited, tmp_path):
        (tmp_path / "square.svg").write_text(SQUARE)
        (tmp_path / "script.js").write_text("console.log(1)")
        seen = visited(
            '<img src="square.svg"><script src="script.js"></script>'
            '<img loading="lazy" src="square.svg" style="margin-top:9000px">'
            f"<details>{SQUARE.replace('<svg', '<svg role=img')}</details>"
            '<div style="overflow-x:auto"><p style="width:800px">Scrolls</p></div>'
        )
        faults = (seen.console, seen.elsewhere, seen.failed, seen.blank, seen.too_wide)
        assert faults == ([], [], [], [], [])

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("console.error('It broke')", "It broke"),
            ("console.warn('It may break')", "It may break"),
            ("nothing()", "nothing is not defined"),
            ("setTimeout(() => nothing())", "nothing is not defined"),
        ],
    )
    def test_what_the_console_says_is_told(self, script, message, visited):
        (said,) = visited(f"<script>{script}</script>").console
        assert message in said

    def test_the_console_of_the_page_before_is_forgotten(self, visited):
        visited("<script>console.error('It broke')</script>")
        assert visited("").console == []

    @pytest.mark.parametrize(
        "element",
        [
            '<img src="nothing.png">',
            '<script src="nothing.png"></script>',
            '<link rel="stylesheet" href="nothing.png">',
            '<p style="background:url(nothing.png)">Text</p>',
            '<script>fetch("nothing.png")</script>',
        ],
    )
    def test_a_file_that_is_not_there_is_told(self, element, visited):
        seen = visited(element)
        (failed,) = seen.failed
        assert failed.endswith("/nothing.png: 404")
        assert seen.console

    def test_a_request_to_another_host_is_told_and_does_not_get_there(self, visited):
        seen = visited('<script src="http://example.org/script.js"></script>')
        assert seen.elsewhere == ["http://example.org/script.js"]
        assert seen.failed == ["http://example.org/script.js: net::ERR_NAME_NOT_RESOLVED"]

    def test_a_picture_that_is_none_is_told(self, visited, tmp_path):
        (tmp_path / "broken.png").write_text("None")
        assert visited('<img src="broken.png">').blank == ['<img> "broken.png"']

    def test_a_lazy_picture_that_is_none_is_told(self, visited, tmp_path):
        (tmp_path / "broken.png").write_text("None")
        image = '<img loading="lazy" src="broken.png" style="margin-top:9000px">'
        assert visited(image).blank == ['<img> "broken.png"']

    @pytest.mark.parametrize("style", ["display:none", "width:0", "height:0"])
    def test_a_drawing_without_size_is_told(self, style, visited):
        drawing = f'<svg role="img" aria-label="Curves" style="{style}"></svg>'
        assert visited(drawing).blank == ['<svg> "Curves"']

    @pytest.mark.parametrize("tag", ["div", "details"])
    def test_what_is_wider_than_a_phone_is_told(self, tag, visited):
        wide = f'<{tag}><p class="wide" style="width:800px;margin:0">It is wide</p></{tag}>'
        (fault,) = visited(f'<div style="margin:-8px"><p>Not wide</p>{wide}</div>').too_wide
        assert fault == 'the page is 800 px wide, <p.wide> "It is wide" to 800 px'


@pytest.mark.slow
class TestBrowser:
    def test_a_phone_is_390_px_wide_for_a_while(self, browser):
        browser.get("data:text/html,<meta name=viewport content='width=device-width'>")
        desktop = browser.execute_script("return innerWidth")
        with phone(browser):
            assert browser.execute_script("return innerWidth") == 390
        assert browser.execute_script("return innerWidth") == desktop > 1000

    def test_scripts_of_pages_can_be_forbidden(self, browser):
        page = "data:text/html,<title>Before</title><script>document.title = 'After'</script>"
        with without_scripts(browser):
            browser.get(page)
            assert browser.title == "Before"
        browser.get(page)
        assert browser.title == "After"

    def test_the_colours_that_the_system_prefers_can_be_set(self, browser):
        query = "return matchMedia('(prefers-color-scheme: dark)').matches"
        prefer_colours(browser, "dark")
        assert browser.execute_script(query)
        prefer_colours(browser, "light")
        assert not browser.execute_script(query)


@pytest.mark.slow
class TestContrast:
    @pytest.fixture
    def marks_of(self, browser, tmp_path):
        """Returns the marks of a figure with given elements, on a page of a given colour."""

        def marks_of_figure(elements, page="white"):
            style = "<style>svg { --figure-blue: #0072b2; --figure-grid: #eee; }</style>"
            figure = f'<svg class="figure-svg" width="300" height="100">{elements}</svg>'
            body = f'<div style="background:{page}">{style}{figure}</div>'
            write_page(tmp_path, body)
            with served(tmp_path) as address:
                browser.get(f"{address}page.html")
                return marks(browser)

        return marks_of_figure

    # By hand, and as WCAG's examples have them.
    @pytest.mark.parametrize(
        ("text", "page", "ratio"),
        [
            ("black", "white", 21.0),
            ("white", "black", 21.0),
            ("white", "white", 1.0),
            ("#777777", "white", 4.48),
            ("rgb(0 0 0 / 50%)", "white", 3.98),  # As rgb(127.5, 127.5, 127.5).
        ],
    )
    def test_of_a_text_with_the_page(self, text, page, ratio, marks_of):
        (mark,) = marks_of(f'<text x="9" y="50" style="fill:{text}">Round</text>', page)
        assert (mark.kind, mark.says) == ("text", "Round")
        assert mark.contrast == pytest.approx(ratio, abs=0.005)

    def test_of_a_text_with_the_shape_below_it(self, marks_of):
        text = '<text x="9" y="50" style="fill:white">Round</text>'
        cell = '<path d="M0 0H300V100H0Z" style="fill:black"/>'
        beside = '<path d="M200 0H300V100H200Z" style="fill:black"/>'
        assert [mark.contrast for mark in marks_of(cell + text)] == [pytest.approx(21)]
        assert [mark.contrast for mark in marks_of(text + cell)] == [pytest.approx(1)]
        assert [mark.contrast for mark in marks_of(beside + text)] == [pytest.approx(1)]

    def test_of_a_text_with_a_shape_that_is_cut_off_beside_it(self, marks_of):
        area = '<rect x="{}" y="0" width="100" height="100"/>'
        clip = f'<defs><clipPath id="cut">{area}</clipPath></defs>'
        cell = '<path clip-path="url(#cut)" d="M0 0H300V100H0Z" style="fill:black"/>'
        text = '<text x="9" y="50" style="fill:white">Round</text>'
        assert [mark.contrast for mark in marks_of(clip.format(200) + cell + text)] == [1]
        assert [mark.contrast for mark in marks_of(clip.format(0) + cell + text)] == [21]

    def test_of_a_text_with_the_pixel_below_it(self, marks_of):
        # Black left of white, of which the text stands on the black.
        pixels = io.BytesIO()
        Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).save(pixels, "PNG")
        source = f"data:image/png;base64,{base64.b64encode(pixels.getvalue()).decode()}"
        size = 'width="300" height="100" preserveAspectRatio="none"'
        image = f'<image href="{source}" {size}/>'
        text = '<text x="{}" y="50" style="fill:white">Round</text>'
        marks = marks_of(image + text.format(9) + text.format(200))
        assert [mark.contrast for mark in marks] == [21, 1]

    def test_of_a_curve_with_the_page(self, marks_of):
        curve = '<path d="M0 0L300 100" style="fill:none;stroke:var(--figure-blue)"/>'
        grid = '<path d="M0 0L300 100" style="fill:none;stroke:var(--figure-grid)"/>'
        (mark,) = marks_of(curve + grid)
        assert (mark.kind, mark.says) == ("curve", "blue")
        assert mark.contrast == pytest.approx(5.19, abs=0.01)

    def test_marks_without_enough_contrast_are_told(self, marks_of):
        curve = '<path d="M0 0L9 9" style="fill:none;stroke:var(--figure-blue);{}"/>'
        text = '<text x="9" y="50" style="fill:{}">{}</text>'
        elements = (
            curve.format("stroke-opacity:0.3")
            + curve.format("")
            + text.format("#777777", "Loss")
            + text.format("#767676", "Round")
        )
        assert faint(marks_of(elements)) == [
            "curve 'blue' has 1.55:1, needs 3.0:1 (times 1)",
            "text 'Loss' has 4.48:1, needs 4.5:1 (times 1)",
        ]
