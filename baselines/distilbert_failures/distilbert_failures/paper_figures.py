"""The figures of the paper: accuracy and divergence beside each other, with all conditions."""

from pathlib import Path
from typing import Final

from common.analysis.curves import Panel, plot_panels
from common.analysis.style import COLOURS
from common.durable import telling
from common.replication.comparison import Panels, by_metric
from common.replication.metrics import TEST_ACCURACY, Metric
from distilbert_failures.figures import FIGURES
from distilbert_failures.paper_comparison import DIVERGENCE, DIVERGENCE_TO_UPDATE
from distilbert_failures.paper_latex import floating

_SHOWN: Final = (TEST_ACCURACY, DIVERGENCE, DIVERGENCE_TO_UPDATE)


def learning_curves(experiment: str, panels: Panels, folder: Path) -> str:
    """Draw an experiment's learning curves, and return the figure that shows them.

    Conditions share their axes, which keeps labels readable at the width of a page, where a panel
    for each would not. There is a picture for each method if one would have too many curves.

    Args:
        experiment: One of the figures' names.
        panels: Its arms.
        folder: Takes the pictures, PDF.

    Returns:
        LaTeX of the figure.

    Raises:
        StorageError: A picture cannot be written.
    """
    pictures = _by_method(panels)
    if sum(map(len, panels.values())) <= len(COLOURS):
        pictures = {"": panels}
    lines = []
    for number, (title, arms) in enumerate(pictures.items(), 1):
        file = folder / f"{experiment}-{number}.pdf"
        # The quantities of a single column stand side by side.
        shown = by_metric(arms, _SHOWN)
        rows = [[_panel(metric, having, title)] for metric, having in shown.items()]
        with telling(file):
            plot_panels(rows, file, title)
        lines.append(rf"\includegraphics[width=\textwidth]{{{file.name}}}")
    caption = f"{FIGURES[experiment].title}. Means over seeds; bands are 95 % intervals."
    return floating("figure*", "\n".join(lines), caption, f"fig:{experiment}")


def _by_method(panels: Panels) -> dict[str, Panels]:
    methods = dict.fromkeys(method for arms in panels.values() for method in arms)
    return {
        method: {
            condition: {method: arms[method]}
            for condition, arms in panels.items()
            if method in arms
        }
        for method in methods
    }


def _panel(metric: Metric, panels: Panels, title: str) -> Panel:
    """Return the curves of a picture, whose title has the method where all are of one."""
    curves = {
        condition if title else f"{condition}, {method}": runs.curves(metric.name)
        for condition, arms in panels.items()
        for method, runs in arms.items()
    }
    return Panel("", metric.label, curves, metric.bounds, is_share=metric.is_share)
