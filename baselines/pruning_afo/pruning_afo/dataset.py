"""CIFAR-10, split over clients."""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.data import ImageDataset, load_images
from common.images import CIFAR10_COLOURS, crop_and_flip, normalise
from common.inputs import Inputs, OnDisk
from common.partition import Partition, label_schemes, realise
from common.randomness import Purpose, generator
from pruning_afo.config import PartitionScheme, PruningConfig

Labels = NDArray[np.int64]

_SIZE = 32  # Pixels.

_normalise = partial(normalise, colours=CIFAR10_COLOURS)


@dataclass(frozen=True)
class FederatedImages:
    """The data set and who owns which training example.

    Attributes:
        images: uint8 [n, 32, 32, 3].
        partition: The clients' training examples.
        augments: Whether training images are cropped and flipped.
    """

    images: ImageDataset
    partition: Partition
    augments: bool

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return self.images.num_classes

    def client(
        self, client: int, device: torch.device, rng: np.random.Generator
    ) -> tuple[Inputs, Labels]:
        """Return a client's inputs and labels, to train with.

        Args:
            client: Partition id.
            device: The model's.
            rng: Of the augmentation.
        """
        examples = self.partition.client(client)

        def augmented(images: Tensor) -> Tensor:
            return _normalise(crop_and_flip(images, rng))

        prepare = augmented if self.augments else _normalise
        inputs = OnDisk(self.images.x_train, examples, device, prepare)
        return inputs, np.asarray(self.images.y_train)[examples]

    def test_set(self, device: torch.device) -> tuple[Inputs, Tensor]:
        """Return the test inputs and labels."""
        examples = np.arange(len(self.images.y_test))
        y = torch.tensor(np.asarray(self.images.y_test), device=device)
        return OnDisk(self.images.x_test, examples, device, _normalise), y


def load_dataset(config: PruningConfig) -> FederatedImages:
    """Return CIFAR-10, partitioned; calls with the same data are free.

    Raises:
        UserInputError: CIFAR-10 cannot be had, or cannot be partitioned so.
    """
    return _load(
        config.partition,
        config.num_clients,
        config.dirichlet_alpha,
        config.min_partition_size,
        config.seed,
        config.augmentation == "crop_flip",
    )


@lru_cache(maxsize=1)
def _load(
    scheme: PartitionScheme,
    num_clients: int,
    alpha: float,
    min_size: int,
    seed: int,
    augments: bool,
) -> FederatedImages:
    images = load_images("cifar10", _SIZE, "end", seed)
    rng = generator(seed, Purpose.PARTITION)
    schemes = label_schemes(images.y_train, num_clients, alpha, min_size, rng)
    return FederatedImages(images, realise(scheme, schemes), augments)
