"""Pictures that are made of results stand in a page as SVG, whose text can be selected."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from common.analysis.inline_svg import FIGURES_CSS, inline_svg
from common.replication.comparison import compare
from common.replication.definition import Replication
from common.replication.drawing import draw, more_figures
from flowerbed_site import benchmarks, repository

Draw = Callable[[Path], None]


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.add_transform(InlineFigures)
    app.config.html_static_path.append(str(FIGURES_CSS))
    app.add_css_file(FIGURES_CSS.name)


class InlineFigures(SphinxTransform):
    """Replaces a picture that is made of results by its SVG, and one that is an SVG by that."""

    # Before Sphinx looks for the file of every picture.
    default_priority = 200

    def apply(self, **_: Any) -> None:
        """Replace the pictures of a page."""
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for image in list(self.document.findall(nodes.image)):
            picture = (folder / image["uri"]).resolve()
            drawing = drawings().get(picture)
            if drawing is not None:
                svg = svg_of(drawing)
            elif picture.suffix == ".svg":
                self.env.note_dependency(str(picture))
                svg = picture.read_text(encoding="utf-8")
            else:
                continue
            html = figure_html(svg, picture.stem, image.get("alt", picture.stem))
            # A paragraph of its own cannot hold what a figure is.
            alone = isinstance(image.parent, nodes.paragraph) and len(image.parent) == 1
            replaced = image.parent if alone else image
            replaced.parent.replace(replaced, nodes.raw("", html, format="html"))


@cache
def drawings() -> Mapping[Path, Draw]:
    """Return every picture that is made of results -> what draws it, to any file."""
    made: dict[Path, Draw] = {benchmarks.picture(): benchmarks.draw}
    for replication in repository.replications().values():
        made |= _drawings_of(replication)
    return made


def svg_of(drawing: Draw) -> str:
    """Return a drawing as the text of an SVG."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "figure.svg")
        drawing(file)
        return file.read_text(encoding="utf-8")


def figure_html(svg: str, name: str, title: str) -> str:
    """Return a figure as an element of a page, which scrolls where it is wider than the screen.

    Args:
        svg: Text of the figure's SVG, in the suite's style.
        name: Tells it from the page's other figures.
        title: What it shows, for those who cannot see it.
    """
    inline = inline_svg(svg, name.replace(".", "-"), title)
    return f'<div class="figure-scroll" tabindex="0">{inline}</div>'


def _drawings_of(replication: Replication) -> dict[Path, Draw]:
    made: dict[Path, Draw] = {}
    for experiment, results in repository.stored(replication.package).items():
        panels = compare(replication, results)
        made[replication.results / f"{experiment}.png"] = partial(
            draw, replication, panels, experiment
        )
        for more in more_figures(replication, panels, experiment):
            made[replication.results / f"{experiment}.{more.name}.png"] = more.draw
    return made
