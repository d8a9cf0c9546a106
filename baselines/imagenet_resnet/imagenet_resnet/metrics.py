"""What a comparison shows of a round."""

import math
from typing import Final

from common.replication.metrics import TEST_ACCURACY, Metric

# In the order of the rows of a figure.
METRICS: Final = (
    TEST_ACCURACY,
    Metric("test_top5_accuracy", "top-5 test accuracy", (0, 1), (".1f", ".1f"), is_share=True),
    Metric("drift", "client drift (l2 distance)", (0, math.inf), (".3g", ".2g"), of_rounds=True),
    Metric("update_cosine", "cosine between updates", (-1, 1), (".3f", ".3f"), of_rounds=True),
    Metric("mu_t", "μ", (0, math.inf), (".2f", ".2f"), only_if_varied=True),
)
