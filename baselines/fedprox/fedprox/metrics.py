"""What figures show of a round, in the order of their rows."""

import math
from typing import Final

from common.replication.metrics import TEST_ACCURACY, TRAIN_LOSS, Metric

METRICS: Final = (
    TRAIN_LOSS,
    TEST_ACCURACY,
    Metric("dissimilarity", "variance of local gradients", (0, math.inf), (".3g", ".2g")),
    Metric("mu_t", "μ", (0, math.inf), (".2f", ".2f"), only_if_varied=True),
)
