"""ILSVRC-2012, ImageNet-1k (Russakovsky et al. 2015, arXiv 1409.0575)."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.data.image_source import ImageSource, SplitNames

# A class is the position of its WordNet id in sorted order, on the hub as in torchvision. The
# evaluation transform is that of torchvision's weights: 224 pixels out of 256.
IMAGENET: Final = ImageSource(
    folder="imagenet",
    repository="ILSVRC/imagenet-1k",
    hub_files="data/{}-*.parquet",
    train=SplitNames(hub="train", class_folders="train"),
    test=SplitNames(hub="validation", class_folders="val"),
    image_column="image",
    label_column="label",
    num_classes=1000,
    crop_ratio=224 / 256,
)

# One image of so many of a class is to test with, where the validation split is all there is.
_TEST_EVERY: Final = 10


def hold_out(
    labels: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a tenth of every class to test with: of ILSVRC-2012's validation split, 5 images of 50.

    Args:
        labels: int64 [n].
        rng: Draws which.

    Returns:
        The examples to train with and those to test with, ascending, int64 [train examples] and
        int64 [test examples]. Of a class whose tenth is no
        whole number it is rounded, half up; but a class with two examples or more has at least one
        of either kind, and one with one example trains.
    """
    test = []
    for label in np.unique(labels):
        examples = np.flatnonzero(labels == label)
        tenth = (len(examples) + _TEST_EVERY // 2) // _TEST_EVERY
        number = max(tenth, 1) if len(examples) > 1 else 0
        test.append(rng.choice(examples, number, replace=False))
    tests = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), tests, assume_unique=True), tests
