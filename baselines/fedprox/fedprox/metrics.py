"""What a comparison shows of its runs."""

from typing import NamedTuple

import numpy as np

from fedprox.comparison import Panels


class Metric(NamedTuple):
    """A number of every round.

    Attributes:
        label: What it is, with its unit.
        bounds: The lowest and the highest value that it can have.
        digits: How a table writes its mean and half of its interval.
    """

    label: str
    bounds: tuple[float, float]
    digits: tuple[str, str]


# In the order of the rows of a figure.
METRICS = {
    "train_loss": Metric("training loss (nats)", (0, np.inf), (".3f", ".3f")),
    "test_accuracy": Metric("test accuracy", (0, 1), (".3f", ".3f")),
    "dissimilarity": Metric("variance of local gradients", (0, np.inf), (".3g", ".2g")),
    "mu_t": Metric("μ", (0, np.inf), (".2f", ".2f")),
}


def shown_metrics(panels: Panels) -> list[str]:
    """Return the metrics that there is something to show of.

    These are test accuracy; training loss and dissimilarity, where every run has them; and mu,
    where it is adaptive.
    """
    return [metric for metric in METRICS if _is_shown(panels, metric)]


def _is_shown(panels: Panels, metric: str) -> bool:
    arms = [runs for arms in panels.values() for runs in arms.values()]
    if metric == "mu_t":
        return any(runs.runs["adaptive_mu"].any() for runs in arms)
    return metric == "test_accuracy" or all(
        metric in runs.metrics and np.isfinite(runs.curves(metric)).any(axis=1).all()
        for runs in arms
    )
