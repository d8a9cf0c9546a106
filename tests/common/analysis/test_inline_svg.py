import re
from itertools import combinations
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from common.analysis.inline_svg import FIGURES_CSS, _short_path, inline_svg
from common.analysis.style import (
    COLOURS,
    GREYS,
    LABEL_COLOURS,
    LABEL_GREY,
    flowerbed_style,
    save_figure,
)

SVG = "{http://www.w3.org/2000/svg}"
LIGHT_PAGE, DARK_PAGE = "#ffffff", "#131416"  # Furo's.


def saved(path, draw):
    """Returns the text of a figure in the suite's style, whose axes something is drawn on."""
    with flowerbed_style():
        figure = Figure(figsize=(4, 3))
        draw(figure.subplots())
        save_figure(figure, path)
    return path.read_text()


def everything(axis):
    """All kinds of what refers to another part: clips, markers, bands, hatches; and an image."""
    axis.plot([1, 2, 3], [0.123456789, 0.5, 0.2], color=COLOURS[0], marker="o")
    axis.fill_between([1, 2, 3], [0, 0, 0], [0.2, 0.3, 0.4], color=COLOURS[1], alpha=0.2)
    axis.barh(0.5, 1, facecolor=COLOURS[4], edgecolor="white", hatch="///")
    axis.imshow([[0.0, 1.0]], extent=(1, 2, 0, 0.1))
    axis.axhline(0.3, color=GREYS[0])
    axis.text(1, 0.4, "dark on light")
    axis.text(2, 0.4, "on a colour", color="white")
    axis.set_title("loss < 1 & so on")


@pytest.fixture(scope="module")
def svg(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("svg") / "figure.svg", everything)


def ids(root):
    return [element.get("id") for element in root.iter() if element.get("id")]


def references(root):
    for element in root.iter():
        if element.get("href", "").startswith("#"):
            yield element.get("href")[1:]
        for value in element.attrib.values():
            yield from re.findall(r"url\(#([^)]+)\)", value)


def test_two_figures_of_a_page_share_no_ids_and_all_references_lead_somewhere(svg):
    page = "".join(inline_svg(svg, name, "A title") for name in ("first", "second.links"))
    root = ET.fromstring(f"<body>{page}</body>")
    assert len(ids(root)) == len({*ids(root)})
    assert {*references(root)} == {*ids(root)}
    kinds = {element.tag.removeprefix(SVG) for element in root.iter() if element.get("id")}
    assert kinds == {"clipPath", "path", "pattern"}
    for name, figure in zip(("first", "second.links"), root, strict=True):
        assert all(id_.startswith(f"{name}-") for id_ in ids(figure))


def test_it_is_an_element_that_a_page_can_hold(svg):
    inline = inline_svg(svg, "a", "A title")
    assert inline.startswith("<svg ")
    root = ET.fromstring(inline)
    tags = [element.tag for element in root.iter()]
    assert {*tags} <= {
        f"{SVG}{tag}"
        for tag in ("svg", "defs", "g", "path", "text", "use", "clipPath", "rect", "pattern")
    } | {f"{SVG}image"}, "no metadata, and no style, which would hold for the whole page"
    assert "<!" not in inline
    assert "<?" not in inline
    assert ":svg" not in inline, "HTML has no prefixes"
    assert root.get("role") == "img"
    assert not {"width", "height"} & {*root.attrib}
    assert root.get("style") == "width:100%;min-width:216px;max-width:384px"  # 4 inches.


def test_the_title_may_have_any_characters(svg):
    title = 'μ < 1 & "so on"'
    assert ET.fromstring(inline_svg(svg, "a", title)).get("aria-label") == title


def test_text_stays(svg):
    def texts(text):
        return ["".join(e.itertext()) for e in ET.fromstring(text).iter(f"{SVG}text")]

    assert texts(inline_svg(svg, "a", "A title")) == texts(svg)
    assert "loss < 1 & so on" in texts(svg)


def styles(root):
    for element in root.iter():
        yield element, dict(d.split(":") for d in element.get("style", "").split(";") if d)


def test_colours_follow_the_page_except_of_letters_that_stand_on_a_colour(svg):
    root = ET.fromstring(inline_svg(svg, "a", "A title"))
    fixed = [
        ("".join(element.itertext()), value)
        for element, style in styles(root)
        for value in style.values()
        if "#" in value and "url(" not in value
    ]
    assert fixed == [("on a colour", "#ffffff")]
    assert not any({"fill", "stroke"} & {*element.attrib} for element in root.iter())
    used = {value for _, style in styles(root) for value in style.values()}
    assert used >= {
        f"var(--figure-{name})" for name in ("ink", "grid", "blue", "vermilion", "orange", "grey-1")
    }


def test_what_fills_a_figure_lets_the_page_through(svg):
    root = ET.fromstring(inline_svg(svg, "a", "A title"))
    white = [element for element, s in styles(root) if s.get("fill") == "var(--figure-paper)"]
    pattern = root.find(f".//{SVG}pattern")
    assert white == list(pattern.iter(f"{SVG}path")), "only the lines of a hatch"


def test_a_colour_that_a_dark_page_would_not_know_is_refused(tmp_path):
    odd = saved(tmp_path / "odd.svg", lambda axis: axis.plot([1, 2], color="#123456"))
    with pytest.raises(ValueError, match="stroke=#123456 is not allowed: it must be a colour of"):
        inline_svg(odd, "a", "A title")


@pytest.mark.parametrize("name", ["", "1st", "two words", "#a"])
def test_a_name_that_cannot_begin_an_id_is_refused(svg, name):
    with pytest.raises(ValueError, match=r"^name=.* is not allowed: it must match "):
        inline_svg(svg, name, "A title")


def test_it_is_small_and_the_same_every_time(tmp_path):
    values = np.random.default_rng(0).random(1000)
    text = saved(tmp_path / "figure.svg", lambda axis: axis.plot(values, color=COLOURS[0]))
    inline = inline_svg(text, "a", "A title")
    assert len(inline) < len(text) / 2
    assert inline == inline_svg(text, "a", "A title")


def subpaths(path):
    """Returns the points of every part of a path that has M, l and z."""
    parts = []
    for letter, numbers in re.findall(r"([Mlz])([^Mlz]*)", path):
        pairs = np.array(re.findall(r"-?[\d.]+", numbers), float).reshape(-1, 2)
        if letter == "M":
            parts.append(list(pairs))
            assert len(pairs) == 1
        for pair in pairs if letter == "l" else ():
            parts[-1].append(parts[-1][-1] + pair)
    return parts


coordinates = st.floats(-500, 1500, allow_nan=False)


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.tuples(coordinates, coordinates), min_size=1), min_size=1), st.booleans()
)
def test_a_short_path_has_the_same_points(lines, closed):
    end = " \nz" if closed else " "
    path = "\n".join(
        "M " + " \nL ".join(f"{x:.6f} {y:.6f}" for x, y in line) + end for line in lines
    )
    short = _short_path(path)
    for found, expected in zip(subpaths(short), lines, strict=True):
        np.testing.assert_allclose(found, expected, atol=0.051)
    assert short.count("z") == len(lines) * closed


def test_a_path_with_curves_keeps_its_commands():
    assert (
        _short_path("M 0 1.5 \nC 0.7956 1.5 1 1 1.5 -0.001 \nz\n") == "M 0 1.5 C .8 1.5 1 1 1.5 0 z"
    )


def linear_rgb(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def luminance(colour):
    return float(np.dot(linear_rgb(colour), (0.2126, 0.7152, 0.0722)))


def contrast(one, other):
    """By WCAG 2."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(scope="module")
def modes():
    """The properties in light, in dark that a reader chose, and in dark by the system."""
    blocks = re.findall(r"body[^{]*\{([^{}]*--figure[^{}]*)\}", FIGURES_CSS.read_text())
    return [dict(re.findall(r"--figure-([\w-]+): (#[0-9a-f]{6});", block)) for block in blocks]


def test_the_page_knows_all_colours_in_light_and_dark(modes, tmp_path):
    light, dark, by_system = modes
    assert dark == by_system
    assert light.keys() == dark.keys()
    # As a figure has them in print.
    assert {"#000000", "#ffffff", *light.values()} == {
        *("#000000", "#ffffff", "#b0b0b0", LABEL_GREY.lower()),
        *(colour.lower() for colour in (*COLOURS, *LABEL_COLOURS, *GREYS)),
    }


def test_colours_can_be_seen_and_letters_read(modes):
    light, dark, _ = modes
    assert dark["paper"] == DARK_PAGE
    lines = light.keys() - {"paper", "grid"}
    assert min(contrast(dark[name], DARK_PAGE) for name in lines) >= 3
    letters = [name for name in lines if name == "ink" or name.endswith("-label")]
    assert len(letters) == 8
    for name in letters:
        assert contrast(light[name], LIGHT_PAGE) >= 4.5
        assert contrast(dark[name], DARK_PAGE) >= 4.5


# Machado, Oliveira and Fernandes (2009), severity 1: what linear RGB is seen as.
BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]


def lab(linear):
    """Returns CIE L*a*b* of linear RGB, for the white of sRGB."""
    x, y, z = np.cbrt(np.maximum(TO_XYZ @ linear / (0.95047, 1, 1.08883), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_colours_of_arms_differ_for_every_eye(modes, blindness):
    for mode in modes:
        seen = [
            lab(np.clip(BLINDNESS[blindness] @ np.array(linear_rgb(mode[hue])), 0, 1))
            for hue in ("blue", "vermilion", "green", "purple", "orange", "sky")
        ]
        # About five times what can just be told apart.
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 12
