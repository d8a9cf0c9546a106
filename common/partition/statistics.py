"""How skewed a realised partition is."""

from dataclasses import dataclass

import numpy as np

from common.partition.csr import IntArray, Partition
from common.partition.validation import LabelArray, check_count, check_labels, refuse
from common.partition.weights import FloatArray


@dataclass(frozen=True)
class PartitionSummary:
    """A partition in numbers; plain ints and floats, so ``dataclasses.asdict`` gives JSON.

    Attributes:
        num_clients: Clients, those without examples included.
        num_empty_clients: Clients without examples.
        num_examples: Examples given to clients.
        min_size: Examples of the smallest client.
        median_size: Median of the examples a client has.
        mean_size: Mean of the examples a client has.
        std_size: Standard deviation of the sizes, over all clients (not a sample's).
        max_size: Examples of the largest client.
        mean_labels_per_client: Mean number of different labels, over clients with examples.
        mean_total_variation: Mean distance of a client's label mix from that of all examples
            together, 0 to 1, over clients with examples.
        weighted_mean_total_variation: The same, clients weighted by their examples.
        max_total_variation: The largest such distance.
    """

    num_clients: int
    num_empty_clients: int
    num_examples: int
    min_size: int
    median_size: float
    mean_size: float
    std_size: float
    max_size: int
    mean_labels_per_client: float
    mean_total_variation: float
    weighted_mean_total_variation: float
    max_total_variation: float


def label_counts(partition: Partition, labels: LabelArray, num_classes: int) -> IntArray:
    """Count each client's examples of each label.

    Args:
        partition: Who owns which example.
        labels: Class of every example of the training set, shape [num_examples].
        num_classes: Number of classes, above every label.

    Returns:
        Counts, shape [num_clients, num_classes].

    Raises:
        UserInputError: If the labels are no class numbers, or one is not below num_classes.
    """
    labels = check_labels(labels)
    check_count("num_classes", num_classes, 1)
    if num_classes <= labels.max():
        refuse("num_classes", num_classes, f"above the largest label, {labels.max()}")
    owners = np.repeat(np.arange(partition.num_clients), partition.sizes)
    cells = owners * num_classes + labels[partition.indices]
    counts = np.bincount(cells, minlength=partition.num_clients * num_classes)
    return counts.reshape(partition.num_clients, num_classes)


def total_variation(counts: IntArray) -> FloatArray:
    """Return the total variation distance of each client's label mix from the overall mix.

    It is ``0.5 * sum_c |p_k(c) - p(c)|``: 0 if client k has the overall mix, and the share of its
    examples that would have to change label to get there.

    Args:
        counts: Examples of each label for each client, shape [num_clients, num_classes].

    Returns:
        Distances from 0 to 1, shape [num_clients]; NaN for a client without examples, which has no
        mix.
    """
    sizes = counts.sum(axis=1, keepdims=True)
    overall = counts.sum(axis=0) / max(int(sizes.sum()), 1)
    mixes = np.divide(counts, sizes, out=np.full(counts.shape, np.nan), where=sizes > 0)
    distances: FloatArray = 0.5 * np.abs(mixes - overall).sum(axis=1)
    return distances


def summarise(partition: Partition, labels: LabelArray, num_classes: int) -> PartitionSummary:
    """Describe a partition in numbers.

    Args:
        partition: Who owns which example; at least one example is owned.
        labels: Class of every example of the training set, shape [num_examples].
        num_classes: Number of classes, above every label.

    Returns:
        The summary.

    Raises:
        UserInputError: If the partition is empty, or the labels and num_classes do not fit.
    """
    if len(partition.indices) == 0:
        refuse("len(partition.indices)", 0, "at least 1")
    counts = label_counts(partition, labels, num_classes)
    sizes = partition.sizes
    filled = sizes > 0
    distances = total_variation(counts)[filled]
    return PartitionSummary(
        num_clients=partition.num_clients,
        num_empty_clients=int((~filled).sum()),
        num_examples=len(partition.indices),
        min_size=int(sizes.min()),
        median_size=float(np.median(sizes)),
        mean_size=float(sizes.mean()),
        std_size=float(sizes.std()),
        max_size=int(sizes.max()),
        mean_labels_per_client=float((counts[filled] > 0).sum(axis=1).mean()),
        mean_total_variation=float(distances.mean()),
        weighted_mean_total_variation=float(np.average(distances, weights=sizes[filled])),
        max_total_variation=float(distances.max()),
    )
