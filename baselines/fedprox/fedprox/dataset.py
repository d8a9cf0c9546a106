"""The data sets of the paper that are here, split over clients."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data import ArrayDataset, load, synthetic, synthetic_iid
from common.partition import (
    Partition,
    label_schemes,
    power_law,
    quantity_skew,
    realise,
    shards,
)
from common.randomness import Purpose, generator
from fedprox.config import FedProxConfig
from fedprox.normalisation import normalisation

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FederatedDataset:
    """A data set and who owns which training example.

    Attributes:
        arrays: The data as stored.
        partition: The clients' training examples.
        shift: Subtracted from every input, float32 scalar or [features].
        scale: Divides every input after that, float32 scalar or [features].
    """

    arrays: ArrayDataset
    partition: Partition
    shift: Floats
    scale: Floats

    @property
    def num_features(self) -> int:
        """Length of an input, flattened."""
        return int(np.prod(self.arrays.x_train.shape[1:]))

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return self.arrays.num_classes

    def client(self, client: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return a client's inputs [n_k, features] and labels [n_k]."""
        examples = self.partition.client(client)
        # Indexing a memory map as such makes another memory map, which takes ten times as long.
        x, y = np.asarray(self.arrays.x_train), np.asarray(self.arrays.y_train)
        return self._inputs(x[examples]), y[examples]

    @property
    def clients(self) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
        """The inputs and labels of every client, in the order of partition ids."""
        return map(self.client, range(self.partition.num_clients))

    # Kept, for the runs of a sweep evaluate on the same ones.
    @cached_property
    def train_set(self) -> tuple[Floats, NDArray[np.int64]]:
        """The inputs and labels of all clients together."""
        examples = np.sort(self.partition.indices)
        return self._inputs(self.arrays.x_train[examples]), self.arrays.y_train[examples]

    @cached_property
    def test_set(self) -> tuple[Floats, NDArray[np.int64]]:
        """The test inputs and labels."""
        return self._inputs(self.arrays.x_test), np.array(self.arrays.y_test)

    def _inputs(self, x: NDArray[Any]) -> Floats:
        """Flatten to [n, features] and normalise."""
        flat = x.reshape(len(x), self.num_features).astype(np.float32)
        flat -= self.shift
        flat /= self.scale
        return flat


def load_dataset(config: FedProxConfig) -> FederatedDataset:
    """Return the data of a configuration, partitioned; calls with the same data are free.

    Raises:
        UserInputError: The data set cannot be had, or cannot be partitioned so.
    """
    return _load(config.model_copy(update=_NOT_ABOUT_DATA))


# Runs of a sweep that differ in these keys only share one data set.
_NOT_ABOUT_DATA = {
    "algorithm": "fedprox",
    "mu": 0.0,
    "adaptive_mu": False,
    "stragglers_fraction": 0.0,
    "evaluate_train_loss": False,
    "evaluate_dissimilarity": False,
    "learning_rate": 1.0,
    "num_rounds": 1,
    "output_dir": "",
}


@lru_cache(maxsize=1)
def _load(config: FedProxConfig) -> FederatedDataset:
    arrays = _arrays(config)
    shift, scale = normalisation(config)
    return FederatedDataset(arrays, _partition(config, arrays), shift, scale)


def _arrays(config: FedProxConfig) -> ArrayDataset:
    if config.dataset == "synthetic":
        return synthetic(
            config.synthetic_alpha, config.synthetic_beta, config.num_clients, config.seed
        )
    if config.dataset == "synthetic_iid":
        return synthetic_iid(config.num_clients, config.seed)
    return load(config.dataset)


def _partition(config: FedProxConfig, arrays: ArrayDataset) -> Partition:
    if config.partition == "power_law" and arrays.natural_partition is not None:
        return arrays.natural_partition  # The clients of Synthetic are made with such sizes.
    labels, num_clients = arrays.y_train, config.num_clients
    rng = generator(config.seed, Purpose.PARTITION)
    schemes = {
        **label_schemes(
            labels, num_clients, config.dirichlet_alpha, config.min_partition_size, rng
        ),
        "shards": lambda: shards(labels, num_clients, rng),
        "power_law": lambda: power_law(labels, num_clients, rng, config.classes_per_client),
        "quantity_skew": lambda: quantity_skew(
            len(labels), num_clients, config.quantity_sigma, rng
        ),
    }
    return realise(config.partition, schemes)
