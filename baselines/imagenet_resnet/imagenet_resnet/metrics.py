"""What a comparison shows of a round."""

import math
from typing import Final

from common.replication.metrics import TEST_ACCURACY, TRAIN_LOSS, Metric

# In the order of the rows of a figure.
METRICS: Final = (
    TEST_ACCURACY,
    Metric("test_top5_accuracy", "top-5 test accuracy", (0, 1), (".1f", ".1f"), is_share=True),
    Metric(
        "client_test_accuracy",
        "test accuracy of a client's own model",
        (0, 1),
        (".1f", ".1f"),
        is_share=True,
    ),
    TRAIN_LOSS,
    Metric("drift", "mean distance of clients to the global model", (0, math.inf), (".3g", ".2g")),
    Metric("update_cosine", "mean cosine between updates", (-1, 1), (".3f", ".3f")),
    Metric("mu_t", "μ", (0, math.inf), (".2f", ".2f"), only_if_varied=True),
)
