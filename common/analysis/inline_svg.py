"""Figures as part of an HTML page: text can be selected, colours follow light and dark.

The colours are those of :mod:`common.analysis.style`. A page needs `figures.css` beside the
figures, which says what each is in light and in dark.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from common.analysis.style import COLOURS, GREYS, GRID, LABEL_COLOURS, LABEL_GREY

# What a page with figures needs.
FIGURES_CSS: Final = Path(__file__).with_name("figures.css")

_SVG: Final = "{http://www.w3.org/2000/svg}"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_HUES: Final = ("blue", "vermilion", "green", "purple", "orange", "sky")
# Colour of a figure -> its property in figures.css.
_PROPERTIES: Final = {
    "#000000": "--figure-ink",
    "#ffffff": "--figure-paper",
    GRID.lower(): "--figure-grid",
    LABEL_GREY.lower(): "--figure-grey-label",
    **{colour.lower(): f"--figure-{hue}" for hue, colour in zip(_HUES, COLOURS, strict=True)},
    **{
        colour.lower(): f"--figure-{hue}-label"
        for hue, colour in zip(_HUES, LABEL_COLOURS, strict=True)
    },
    **{colour.lower(): f"--figure-grey-{number}" for number, colour in enumerate(GREYS, 1)},
}
# Of a unit of the drawing, which is a point of print.
_DECIMALS: Final = 1
_SMALL_DECIMALS: Final = 2  # Of paths with curves, which are markers.
# As parts of the width that it is drawn for, in pixels a point.
_LEAST_SCALE: Final = 0.75
_LARGEST_SCALE: Final = 4 / 3

_NAME: Final = re.compile(r"[A-Za-z][\w.-]*")
_LENGTHS: Final = frozenset({"x", "y", "width", "height"})
_COMMAND: Final = re.compile(r"([A-Za-z])([^A-Za-z]*)")
_NUMBER: Final = re.compile(r"-?\d+\.\d+")
_REFERENCE: Final = re.compile(r"url\(#([^)]+)\)")
_NO_ROTATION: Final = re.compile(r"rotate\(-?0(?:\.0)?[ )]")


def inline_svg(svg: str, name: str, title: str) -> str:
    """Make a figure an element of a page's body.

    It is as wide as what holds it, down to where its letters could not be read: what holds it is
    to be `<div class="figure-scroll">`.

    Args:
        svg: Text of a file that :func:`common.analysis.style.save_figure` wrote.
        name: Is put before all ids, so that figures of a page do not share any; letters, digits,
            underscores, dots and dashes.
        title: What it shows, for those who cannot see it.

    Returns:
        An element without name spaces and without fixed colours.

    Raises:
        ValueError: The name cannot begin an id, or a colour is not of the suite's style.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"name={name!r} is not allowed: it must match {_NAME.pattern}.")
    figure = ET.fromstring(svg)
    _drop(figure, "metadata")
    _drop(figure, "style")  # It would hold for the whole page.
    referred = {id_ for element in figure.iter() for id_ in _references(element)}
    for element in figure.iter():
        _rewrite(element, name, referred)
    _remove_background(figure)
    _set_root(figure, title)
    return ET.tostring(figure, encoding="unicode")


def _drop(figure: ET.Element, tag: str) -> None:
    for parent in list(figure.iter()):
        for child in parent.findall(f"{_SVG}{tag}"):
            parent.remove(child)


def _references(element: ET.Element) -> Iterator[str]:
    for value in element.attrib.values():
        yield from _REFERENCE.findall(value)
    if element.get(_HREF, "").startswith("#"):
        yield element.attrib[_HREF][1:]


def _rewrite(element: ET.Element, name: str, referred: set[str]) -> None:
    """Rewrite an element's tag and attributes, and drop the white space between elements."""
    element.tag = element.tag.removeprefix(_SVG)
    is_text = element.tag in ("text", "tspan")
    if not is_text:
        element.text = None if not (element.text or "").strip() else element.text
    if not (element.tail or "").strip() and element.tag != "tspan":
        element.tail = None
    attributes = dict(element.attrib)
    element.attrib.clear()
    styles = _declarations(attributes.pop("style", ""))
    for key in ("fill", "stroke"):  # Properties are not allowed in attributes everywhere.
        if key in attributes:
            styles[key] = attributes.pop(key)
    id_ = attributes.pop("id", None)
    if id_ in referred:
        element.set("id", f"{name}-{id_}")
    if _HREF in attributes:
        target = attributes.pop(_HREF)
        element.set("href", f"#{name}-{target[1:]}" if target.startswith("#") else target)
    if "d" in attributes:
        element.set("d", _short_path(attributes.pop("d")))
    if _NO_ROTATION.match(attributes.get("transform", "")):
        del attributes["transform"]
    for key in _LENGTHS & attributes.keys():
        attributes[key] = _rounded(attributes[key], _DECIMALS)
    for key, value in attributes.items():
        element.set(key, _referring(value, name))
    written = [f"{key}:{_coloured(key, value, is_text)}" for key, value in styles.items()]
    if written:
        element.set("style", _referring(";".join(written), name))


def _referring(value: str, name: str) -> str:
    return _REFERENCE.sub(lambda reference: f"url(#{name}-{reference[1]})", value)


def _declarations(style: str) -> dict[str, str]:
    """Return the declarations of a style, without the font, which the page says once."""
    pairs = (part.partition(":") for part in style.split(";") if part.strip())
    declarations = {key.strip(): value.strip() for key, _, value in pairs}
    declarations.pop("font-family", None)
    return declarations


def _coloured(key: str, value: str, is_text: bool) -> str:
    if key not in ("fill", "stroke") or not value.startswith("#"):
        return value
    if is_text and value == "#ffffff":
        return value  # It stands on a colour, whatever the page's is.
    if value not in _PROPERTIES:
        raise ValueError(f"{key}={value} is not allowed: it must be a colour of the suite's style.")
    return f"var({_PROPERTIES[value]})"


def _short_path(path: str) -> str:
    """Write a path in fewer letters: straight lines by how far each goes, from rounded points."""
    commands = _COMMAND.findall(path)
    if any(letter not in "MLz" for letter, _ in commands):
        return re.sub(r"\s+", " ", _rounded(path, _SMALL_DECIMALS)).strip()
    written = []
    x = y = 0
    before = ""
    for letter, numbers in commands:
        if letter == "z":
            written.append("z")
        else:
            next_x, next_y = (round(float(number) * 10**_DECIMALS) for number in numbers.split())
            is_line = letter == "L"
            point = (next_x - x, next_y - y) if is_line else (next_x, next_y)
            if not is_line:
                written.append("M")  # Repeated, too: further points after it are those of lines.
            elif before != "L":
                written.append("l")
            elif point[0] >= 0:
                written.append(" ")  # A sign parts numbers as well.
            written.append(_pair(*point))
            x, y = next_x, next_y
        before = letter
    return "".join(written)


def _pair(x: int, y: int) -> str:
    first, second = (_written(number / 10**_DECIMALS, _DECIMALS) for number in (x, y))
    return f"{first}{second}" if y < 0 else f"{first} {second}"


def _rounded(text: str, decimals: int) -> str:
    return _NUMBER.sub(lambda number: _written(float(number[0]), decimals), text)


def _written(number: float, decimals: int) -> str:
    written = f"{number:.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else re.sub(r"^(-?)0\.", r"\1.", written)


def _remove_background(figure: ET.Element) -> None:
    """Make what fills the figure and its axes, white as no mark is, let the page through."""
    for group in figure.iter("g"):
        for path in group.findall("path"):
            style = path.get("style", "")
            if style == "fill:var(--figure-paper)":
                path.set("style", "fill:none")


def _set_root(figure: ET.Element, title: str) -> None:
    view_box = figure.attrib["viewBox"]
    width = float(view_box.split()[2])
    figure.attrib.clear()
    figure.tail = None
    least, largest = round(_LEAST_SCALE * width), round(_LARGEST_SCALE * width)
    attributes = {
        "xmlns": _SVG.strip("{}"),
        "viewBox": view_box,
        "class": "figure-svg",
        "role": "img",
        "aria-label": title,
        "style": f"width:100%;min-width:{least}px;max-width:{largest}px",
    }
    for key, value in attributes.items():
        figure.set(key, value)
