"""How well the figures of a page in a browser can be read: contrast as WCAG 2.2 defines it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, Literal

from selenium import webdriver

# Success criteria 1.4.3 and 1.4.11.
LEAST: Final = {"text": 4.5, "curve": 3.0}

# Red, green and blue from 0 to 255, and opacity from 0 to 1.
Colour = Sequence[float]


@dataclass(frozen=True)
class Mark:
    """A text or a curve of a figure.

    Attributes:
        kind: What it is. A line that shows no data, such as an axis, is none.
        says: Its text, or its colour's name in the style sheet.
        contrast: With what is below it, from 1 to 21.
    """

    kind: Literal["text", "curve"]
    says: str
    contrast: float


def marks(browser: webdriver.Chrome) -> list[Mark]:
    """Return the texts and curves of the figures in the browser's page, which it unfolds."""
    return [
        Mark(mark["kind"], mark["says"], _contrast(mark["colour"], mark["below"]))
        for mark in browser.execute_async_script(_FIND_MARKS)
    ]


def faint(marks: Sequence[Mark]) -> list[str]:
    """Return those that have less contrast than they need, and how many are alike."""
    alike = Counter(
        f"{mark.kind} {mark.says!r} has {mark.contrast:.2f}:1, needs {LEAST[mark.kind]}:1"
        for mark in marks
        if mark.contrast < LEAST[mark.kind]
    )
    return [f"{fault} (times {times})" for fault, times in alike.items()]


def _contrast(colour: Colour, below: Sequence[Colour]) -> float:
    """Return the contrast of a colour with those below it, of which the first is the lowest."""
    white: Colour = (255.0, 255.0, 255.0, 1.0)
    ground = reduce(_put_on, below, white)
    darker, lighter = sorted(_luminance(seen) for seen in (_put_on(ground, colour), ground))
    return (lighter + 0.05) / (darker + 0.05)


def _put_on(ground: Colour, colour: Colour) -> Colour:
    opacity = colour[3]
    mixed = [opacity * its + (1 - opacity) * of for its, of in zip(colour, ground, strict=True)]
    return [*mixed[:3], 1.0]


def _luminance(colour: Colour) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (part / 255 for part in colour[:3])
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# Returns the kind, words and colour of every mark, and the colours below it.
_FIND_MARKS: Final = """
const parsed = (text, opacity = 1) => {
  const numbers = /^rgba?\\(([^)]*)\\)$/.exec(text);
  if (!numbers) throw new Error(`${text} is not a colour in red, green and blue`);
  const [red, green, blue, alpha = 1] = numbers[1].split(",").map(Number);
  return [red, green, blue, alpha * opacity];
};
const opacity = (element) => {
  let product = 1;
  for (let at = element; at; at = at.parentElement) product *= getComputedStyle(at).opacity;
  return product;
};
const painted = (element, what) => {
  const style = getComputedStyle(element);
  return parsed(style[what], style[`${what}Opacity`] * opacity(element));
};
const grounds = (element) => {
  const found = [];
  for (let at = element; at; at = at.parentElement) {
    found.unshift(parsed(getComputedStyle(at).backgroundColor));
  }
  return found;
};
const insideOf = (element, { x, y }) => {
  const box = element.getBoundingClientRect();
  if (x < box.left || x > box.right || y < box.top || y > box.bottom) return null;
  return new DOMPoint(x, y).matrixTransform(element.getScreenCTM().inverse());
};
// Each returns a colour for a point of the screen, or null where it leaves the page as it is.
const painter = (shape) => (at) => {
  const point = insideOf(shape, at);
  if (!point || !shape.isPointInFill(point)) return null;
  const clip = /#([^")]+)/.exec(getComputedStyle(shape).clipPath);
  const leaves = clip ? [...document.getElementById(clip[1]).children] : [shape];
  return leaves.some((part) => part.isPointInFill(point)) ? painted(shape, "fill") : null;
};
const pixelPainter = async (image) => {
  const { x, y, width, height } = image;
  const pixels = new Image();
  pixels.src = image.href.baseVal;
  await pixels.decode();
  const canvas = new OffscreenCanvas(pixels.naturalWidth, pixels.naturalHeight);
  const context = canvas.getContext("2d");
  context.drawImage(pixels, 0, 0);
  return (at) => {
    const point = insideOf(image, at);
    if (!point) return null;
    const column = ((point.x - x.baseVal.value) / width.baseVal.value) * canvas.width;
    const row = ((point.y - y.baseVal.value) / height.baseVal.value) * canvas.height;
    const [red, green, blue, alpha] = context.getImageData(column, row, 1, 1).data;
    return [red, green, blue, (alpha / 255) * opacity(image)];
  };
};
const middleOf = (element) => {
  const { left, top, width, height } = element.getBoundingClientRect();
  return { x: left + width / 2, y: top + height / 2 };
};
const marksOf = async (figure) => {
  const marks = [], painters = [];
  const page = grounds(figure.parentElement);
  for (const element of figure.querySelectorAll("path, rect, circle, image, text")) {
    if (element.closest("defs")) continue;
    const style = getComputedStyle(element);
    const property = /(^|;)stroke:var\\(--figure-([^)]*)\\)/.exec(element.getAttribute("style"));
    const isOfData = property && !["ink", "paper", "grid"].includes(property[2]);
    if (element.tagName === "text") {
      const says = element.textContent.trim();
      const below = painters.map((paint) => paint(middleOf(element))).filter(Boolean);
      const colour = painted(element, "fill");
      if (says) marks.push({ kind: "text", says, colour, below: [...page, ...below] });
    } else if (element.tagName === "image") {
      painters.push(await pixelPainter(element));
    } else if (style.fill !== "none") {
      painters.push(painter(element));
    } else if (isOfData) {
      const colour = painted(element, "stroke");
      marks.push({ kind: "curve", says: property[2], colour, below: page });
    }
  }
  return marks;
};
const done = arguments[0];
for (const details of document.querySelectorAll("details")) details.open = true;
const figures = [...document.querySelectorAll("svg.figure-svg")];
Promise.all(figures.map(marksOf)).then((found) => done(found.flat()));
"""
