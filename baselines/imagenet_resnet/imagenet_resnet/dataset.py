"""Images, or what the frozen layers make of them, split over clients."""

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.data import ImageDataset, load_images
from common.data.arrays import ChosenRows
from common.images import IMAGENET_COLOURS, crop_and_flip, normalise
from common.inputs import Inputs, OnDisk
from common.partition import Partition, label_schemes, realise
from common.randomness import Purpose, generator
from imagenet_resnet.config import ImageNetConfig
from imagenet_resnet.features import trunk_features
from imagenet_resnet.model import make_model, trunk_output_shape
from imagenet_resnet.weights import fingerprint

Labels = NDArray[np.int64]

_normalise = partial(normalise, colours=IMAGENET_COLOURS)

# Part of the cache's key: to be counted up when the same images and layers get other features.
_FEATURES: Final = 1


@dataclass(frozen=True)
class FederatedImages:
    """A data set and who owns which training example.

    Attributes:
        images: uint8 [n, size, size, 3]; with a frozen trunk its features in their place, float32.
        partition: The clients' training examples.
        has_features: Whether there are features in the place of images.
        augments: Whether training images are cropped and flipped.
    """

    images: ImageDataset
    partition: Partition
    has_features: bool
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

        prepare = augmented if self.augments else self._prepare
        inputs = OnDisk(self.images.x_train, examples, device, prepare)
        return inputs, np.asarray(self.images.y_train)[examples]

    def train_set(self, device: torch.device) -> tuple[Inputs, Tensor]:
        """Return the inputs and labels of all clients together, to evaluate on."""
        examples = np.sort(self.partition.indices)
        y = torch.tensor(np.asarray(self.images.y_train)[examples], device=device)
        return OnDisk(self.images.x_train, examples, device, self._prepare), y

    def test_set(self, device: torch.device) -> tuple[Inputs, Tensor]:
        """Return the test inputs and labels."""
        examples = np.arange(len(self.images.y_test))
        y = torch.tensor(np.asarray(self.images.y_test), device=device)
        return OnDisk(self.images.x_test, examples, device, self._prepare), y

    def _prepare(self, stored: Tensor) -> Tensor:
        return stored if self.has_features else _normalise(stored)


def load_dataset(config: ImageNetConfig) -> FederatedImages:
    """Return the data of a configuration, partitioned; calls with the same data are free.

    Frozen layers are run once over all images, on ``server_device``, which may take minutes.

    Raises:
        UserInputError: Data set or weights cannot be had, or the data cannot be partitioned so.
    """
    return _load(config.model_copy(update=_NOT_ABOUT_DATA))


# Runs of a sweep that differ in these keys only share one data set.
_NOT_ABOUT_DATA = {
    "algorithm": "fedavg",
    "mu": 0.0,
    "mu_schedule": "constant",
    "mu_final": 0.0,
    "adaptive_mu": False,
    "weighting": "uniform",
    "server_optimizer": "none",
    "evaluate_train_loss": False,
    "evaluate_clients": False,
    "server_learning_rate": 1.0,
    "beta_1": 0.0,
    "beta_2": 0.0,
    "tau": 1.0,
    "buffers": "average",
    "measure_drift": False,
    "batch_size": 1,
    "learning_rate": 1.0,
    "momentum": 0.0,
    "precision": "float32",
    "num_rounds": 1,
    "num_epochs": 1,
    "output_dir": "",
}


@lru_cache(maxsize=1)
def _load(config: ImageNetConfig) -> FederatedImages:
    images = load_images(config.dataset, config.image_size, config.on_corrupt_image, config.seed)
    partition = _partition(config, images.y_train)
    has_features = config.trainable != "all"
    if has_features:
        images = _through_trunk(config, images)
    return FederatedImages(images, partition, has_features, config.augmentation == "crop_flip")


def _partition(config: ImageNetConfig, labels: Labels) -> Partition:
    rng = generator(config.seed, Purpose.PARTITION)
    schemes = label_schemes(
        labels, config.num_clients, config.dirichlet_alpha, config.min_partition_size, rng
    )
    return realise(config.partition, schemes)


def _through_trunk(config: ImageNetConfig, images: ImageDataset) -> ImageDataset:
    """Return the data set with the frozen layers' features in the place of images."""
    device = torch.device(config.server_device)
    shape = trunk_output_shape(config)
    trunk = (
        f"features_{_FEATURES}",
        config.model,
        f"{config.num_stages}_stages",
        f"before_{config.trainable}",
        fingerprint(config.weights, config.model),
        device.type,
    )

    def make_trunk() -> nn.Module:
        return make_model(config, images.num_classes).trunk.to(device)

    def features_of(x: ChosenRows) -> ChosenRows:
        all_images = OnDisk(ChosenRows(x.stored), np.arange(len(x.stored)), device, _normalise)
        key = "-".join([*trunk, _name_in_cache(x.stored)])
        return ChosenRows(trunk_features(make_trunk, all_images, shape, key), x.rows)

    return replace(images, x_train=features_of(images.x_train), x_test=features_of(images.x_test))


def _name_in_cache(images: NDArray[Any]) -> str:
    """Return the name of decoded images, which changes with their source."""
    if not isinstance(images, np.memmap):
        raise TypeError(f"images are {type(images).__name__}, but must be memory-mapped")
    return Path(str(images.filename)).parent.name
