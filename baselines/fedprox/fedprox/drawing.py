"""The figure of a comparison: what was measured over rounds."""

from collections.abc import Sequence
from pathlib import Path

from common.analysis.curves import Panel, plot_panels
from fedprox.comparison import Panels
from fedprox.figures import FIGURES
from fedprox.published import published_curve
from fedprox.quantities import QUANTITIES, shown_metrics


def draw(panels: Panels, name: str, path: Path, changed: Sequence[str] = ()) -> None:
    """Draw a row a quantity and a column a panel.

    Args:
        panels: What to compare.
        name: The experiment, which gives title and published curves; any other name gives none.
        path: Where to save; the suffix says the format.
        changed: Keys, with their values, in which the runs differ from the experiment: the title
            tells them, and published curves, which are not of such runs, are left out.
    """
    title = FIGURES[name].title if name in FIGURES else ""
    if changed:
        title = f"{title}, but {' '.join(changed)}"
    overlay = "" if changed else name
    plot_panels([_row(panels, overlay, metric) for metric in shown_metrics(panels)], path, title)


def _row(panels: Panels, overlay: str, metric: str) -> list[Panel]:
    quantity = QUANTITIES[metric]
    return [
        Panel(
            title,
            quantity.label,
            {arm: runs.curves(metric) for arm, runs in arms.items()},
            quantity.bounds,
            {
                arm: curve
                for arm, runs in arms.items()
                if (curve := published_curve(overlay, metric, runs)) is not None
            },
        )
        for title, arms in panels.items()
    ]
