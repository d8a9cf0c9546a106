"""Arrays of labels -> who owns which example. Pure NumPy, seeded, every example exactly once.

A scheme takes labels (or their number), the number of clients and a generator, and returns a
:class:`~common.partition.csr.Partition`, whose rows list examples in ascending order;
:func:`~common.partition.score_ranges.score_ranges` takes scores, and draws nothing. Bad
input is refused before any work with a :class:`common.errors.UserInputError`, a ``ValueError``.
"""

from common.partition.csr import Partition
from common.partition.dirichlet import dirichlet_over_clients, dirichlet_over_labels
from common.partition.iid import iid
from common.partition.power_law import power_law
from common.partition.quantity_skew import quantity_skew
from common.partition.rounding import largest_remainder
from common.partition.schemes import label_schemes, realise
from common.partition.score_ranges import score_quantiles, score_ranges
from common.partition.shards import shards
from common.partition.statistics import (
    PartitionSummary,
    label_counts,
    summarise,
    total_variation,
)

__all__ = [
    "Partition",
    "PartitionSummary",
    "dirichlet_over_clients",
    "dirichlet_over_labels",
    "iid",
    "label_counts",
    "label_schemes",
    "largest_remainder",
    "power_law",
    "quantity_skew",
    "realise",
    "score_quantiles",
    "score_ranges",
    "shards",
    "summarise",
    "total_variation",
]
