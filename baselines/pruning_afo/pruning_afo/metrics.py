"""What a comparison shows of a round."""

import math
from typing import Final

from common.replication.metrics import TEST_ACCURACY, Metric

# In the order of the rows of a figure.
METRICS: Final = (
    TEST_ACCURACY,
    Metric("density_up", "entries sent", (0, 1), (".2f", ".2f"), is_share=True),
    Metric("model_density", "weights kept", (0, 1), (".1f", ".1f"), is_share=True),
    Metric("drift", "client drift (l2 distance)", (0, math.inf), (".3g", ".2g"), of_rounds=True),
)
