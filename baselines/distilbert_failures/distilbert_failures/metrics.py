"""What figures show of a round, beside the test accuracy."""

import math
from typing import Final

from common.replication.metrics import TEST_ACCURACY, Metric

# In the order of the rows of a figure.
METRICS: Final = (
    TEST_ACCURACY,
    Metric(
        "worst_class_accuracy",
        "test accuracy of the worst class",
        (0, 1),
        (".1f", ".1f"),
        is_share=True,
    ),
    Metric("client_train_loss", "client training loss (nats)", (0, math.inf), (".3f", ".3f")),
    Metric("divergence", "client divergence (l2 distance)", (0, math.inf), (".3g", ".2g")),
    Metric("divergence_to_update", "divergence / mean update", (0, math.inf), (".2f", ".2f")),
    Metric("update_cosine", "cosine between updates", (-1, 1), (".3f", ".3f")),
)
