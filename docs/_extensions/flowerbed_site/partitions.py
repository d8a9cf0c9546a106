"""Partitions, made and drawn when the page is built, by the code that the page shows."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import common.partition
from common.analysis.partition import plot_partition
from common.partition import Partition, label_counts, summarise
from flowerbed_site.figures import figure_html, svg_of

# As many as MNIST has, of each of as many classes.
_NUM_CLASSES: Final = 10
_EXAMPLES_PER_CLASS: Final = 6_000
_SEED: Final = 0


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.add_directive("partition", PartitionFigure)


class PartitionFigure(SphinxDirective):
    """A call of :mod:`common.partition`, the picture of what it returns, and that in numbers.

    The argument is the picture's title, the content an expression of Python, for which ``labels``,
    ``num_examples``, ``scores`` and ``rng`` are given.
    """

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return code, picture and numbers."""
        code = "\n".join(self.content)
        names = given()
        partition = eval(code, vars(common.partition) | names)  # The page's own code.
        labels, title = names["labels"], self.arguments[0]
        counts = label_counts(partition, labels, _NUM_CLASSES)

        def draw(file: Path) -> None:
            plot_partition(counts, file, title)

        name = f"partition-{nodes.make_id(title)}"
        block = nodes.literal_block(code, code, language="python")
        picture = nodes.raw("", figure_html(svg_of(draw), name, title), format="html")
        return [block, picture, nodes.paragraph(text=_in_numbers(partition, labels))]


def given() -> dict[str, Any]:
    """Return what the code of a picture is given, by its name: the same for all pictures."""
    labels = np.repeat(np.arange(_NUM_CLASSES), _EXAMPLES_PER_CLASS)
    scores = np.random.default_rng(_SEED).permutation(len(labels)) + labels * len(labels) / 4
    return {
        "labels": labels,
        "num_examples": len(labels),
        "scores": scores,
        "rng": np.random.default_rng(_SEED),
    }


def _in_numbers(partition: Partition, labels: np.ndarray[Any, Any]) -> str:
    its = summarise(partition, labels, _NUM_CLASSES)
    return (
        f"Clients have {its.min_size:,} to {its.max_size:,} examples and "
        f"{its.mean_labels_per_client:.1f} labels on average; the mean distance of a client's mix "
        f"of labels from that of all (total variation, 0 to 1) is {its.mean_total_variation:.2f}."
    )
