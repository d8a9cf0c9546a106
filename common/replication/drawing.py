"""The figures of a comparison: what was measured over rounds, and those of the baseline."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.analysis.curves import Panel, plot_panels
from common.replication.comparison import Panels, arm_keys_of, by_metric
from common.replication.definition import FigureOf, MoreFigure, Replication
from common.replication.metrics import Metric
from common.replication.published import published_curve


def draw(
    replication: Replication,
    panels: Panels,
    experiment: str,
    path: Path,
    changed: Sequence[str] = (),
) -> None:
    """Draw a row a metric and a column a panel.

    Args:
        replication: Has the metrics, the figures and published curves.
        panels: What to compare.
        experiment: Gives the figure its title and published curves; any other name gives none.
        path: Where to save; the suffix says the format.
        changed: Keys, with their values, in which the runs differ from the experiment: the title
            tells them, and published curves, which are not of such runs, are left out.
    """
    rows = _rows(replication, panels, experiment, changed)
    plot_panels(rows, path, heading(replication, experiment, changed))


def shows_published(
    replication: Replication, panels: Panels, experiment: str, changed: Sequence[str] = ()
) -> bool:
    """Return whether there are published curves in what :func:`draw` draws of the same."""
    rows = _rows(replication, panels, experiment, changed)
    return any(panel.published for row in rows for panel in row)


def more_figures(
    replication: Replication, panels: Panels, experiment: str, changed: Sequence[str] = ()
) -> Sequence[MoreFigure]:
    """Return the figures of the baseline's own; the arguments are those of :func:`draw`."""
    figure = replication.figures.get(experiment, FigureOf("", ""))
    title = heading(replication, experiment, changed)
    return replication.more_figures(panels, replace(figure, title=title))


def heading(replication: Replication, experiment: str, changed: Sequence[str]) -> str:
    """Return what figures have above them: empty if they are of no experiment."""
    figures = replication.figures
    title = figures[experiment].title if experiment in figures else ""
    return f"{title}, but {' '.join(changed)}" if changed else title


def _rows(
    replication: Replication, panels: Panels, experiment: str, changed: Sequence[str]
) -> list[list[Panel]]:
    overlay = "" if changed else experiment
    shown = by_metric(panels, replication.metrics)
    return [_row(replication, arms, overlay, metric) for metric, arms in shown.items()]


def _row(replication: Replication, panels: Panels, overlay: str, metric: Metric) -> list[Panel]:
    return [
        Panel(
            title,
            metric.label,
            {arm: runs.curves(metric.name) for arm, runs in arms.items()},
            metric.bounds,
            {
                arm: curve
                for arm, runs in arms.items()
                if (curve := published_curve(replication, overlay, metric.name, runs)) is not None
            },
            [arm for arm, runs in arms.items() if arm_keys_of(replication, runs).is_reference],
            metric.is_share,
        )
        for title, arms in panels.items()
    ]
