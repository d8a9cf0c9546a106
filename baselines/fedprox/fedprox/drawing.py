"""The figure of a comparison: what was measured over rounds."""

from collections.abc import Sequence
from pathlib import Path

from common.analysis.curves import Panel, plot_panels
from fedprox.comparison import Panels
from fedprox.figures import FIGURES
from fedprox.metrics import METRICS, shown_metrics
from fedprox.published import published_curve


def draw(panels: Panels, experiment: str, path: Path, changed: Sequence[str] = ()) -> None:
    """Draw a row a metric and a column a panel.

    Args:
        panels: What to compare.
        experiment: Gives the figure its title and published curves; any other name gives none.
        path: Where to save; the suffix says the format.
        changed: Keys, with their values, in which the runs differ from the experiment: the title
            tells them, and published curves, which are not of such runs, are left out.
    """
    title = FIGURES[experiment].title if experiment in FIGURES else ""
    if changed:
        title = f"{title}, but {' '.join(changed)}"
    overlay = "" if changed else experiment
    plot_panels([_row(panels, overlay, metric) for metric in shown_metrics(panels)], path, title)


def _row(panels: Panels, overlay: str, metric: str) -> list[Panel]:
    label, bounds, _ = METRICS[metric]
    return [
        Panel(
            title,
            label,
            {arm: runs.curves(metric) for arm, runs in arms.items()},
            bounds,
            {
                arm: curve
                for arm, runs in arms.items()
                if (curve := published_curve(overlay, metric, runs)) is not None
            },
        )
        for title, arms in panels.items()
    ]
