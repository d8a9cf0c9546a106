"""The data, split over clients."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from common.data import ArrayDataset, synthetic
from common.partition import Partition
from new_baseline.config import NewBaselineConfig

# Inputs [n, features] and labels [n].
Examples = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class FederatedDataset:
    """A data set and who owns which training example.

    Attributes:
        arrays: The examples.
        partition: The clients' training examples.
    """

    arrays: ArrayDataset
    partition: Partition

    @property
    def num_features(self) -> int:
        """Length of an input."""
        return int(self.arrays.x_train.shape[1])

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return self.arrays.num_classes

    def client(self, client: int) -> Examples:
        """Return a client's examples."""
        mine = self.partition.client(client)
        return self.arrays.x_train[mine], self.arrays.y_train[mine]

    @property
    def train_set(self) -> Examples:
        """The examples of all clients together."""
        return self.arrays.x_train, self.arrays.y_train

    @property
    def test_set(self) -> Examples:
        """The test examples."""
        return self.arrays.x_test, self.arrays.y_test


def load_dataset(config: NewBaselineConfig) -> FederatedDataset:
    """Return the data of a configuration; calls with the same data are free.

    Raises:
        UserInputError: The data cannot be had.
    """
    return generate(config.synthetic_alpha, config.synthetic_beta, config.num_clients, config.seed)


# Data that are read and partitioned come from common.data.load and common.partition.
@lru_cache(maxsize=1)
def generate(alpha: float, beta: float, num_clients: int, seed: int) -> FederatedDataset:
    """Return Synthetic(alpha, beta), kept until other data are asked for.

    Args:
        alpha: How much local models differ.
        beta: How much local data differ.
        num_clients: Number of clients.
        seed: Of the data.
    """
    arrays = synthetic(alpha, beta, num_clients, seed)
    assert arrays.natural_partition is not None  # Each client generates its own examples.
    return FederatedDataset(arrays, arrays.natural_partition)
