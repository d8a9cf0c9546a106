"""What a comparison shows of a round."""

import math
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Metric:
    """A number of every round.

    Attributes:
        name: Its column in ``rounds`` of :class:`common.analysis.results.Results`.
        label: What it is, with its unit.
        bounds: The lowest and the highest value that it can have.
        digits: How a table writes its mean and half of its interval.
        is_share: Whether it is a fraction, which figures and tables have in percent.
        only_if_varied: Whether it says nothing while it stays the same in all rounds of every run.
        of_rounds: Whether it cannot be compared between arms of one round and arms of more, whose
            rounds are shorter: then those of one are left out.
    """

    name: str
    label: str
    bounds: tuple[float, float]
    digits: tuple[str, str]
    is_share: bool = False
    only_if_varied: bool = False
    of_rounds: bool = False


# What arms are compared by, and every run has.
TEST_ACCURACY: Final = Metric(
    "test_accuracy", "test accuracy", (0, 1), (".1f", ".1f"), is_share=True
)
TRAIN_LOSS: Final = Metric("train_loss", "training loss (nats)", (0, math.inf), (".3f", ".3f"))
