"""MNIST (LeCun et al. 1998), the official split."""

from typing import Any

from numpy.typing import NDArray

from common.data.arrays import ArrayDataset
from common.data.cache import image_layouts, memory_mapped
from common.data.columns import decode_images, decode_labels
from common.data.store import fingerprint, load_split

SPLITS = ("train", "test")
NUM_CLASSES = 10
HEIGHT = WIDTH = 28

# Part of the cache's key: to be counted up when the same files are decoded to something else.
_DECODING = 2


def mnist() -> ArrayDataset:
    """Load MNIST from ``$FLOWERBED_DATA/mnist`` or the hub.

    Returns:
        Images uint8 [60000, 28, 28] and [10000, 28, 28], labels int64, ten classes.

    Raises:
        UserInputError: It is neither on disk nor reachable, or damaged, or not MNIST; or the cache
            folder cannot be used.
    """
    key = f"mnist-{_DECODING}-{fingerprint('mnist', SPLITS)}"
    return ArrayDataset.of(memory_mapped(key, image_layouts((HEIGHT, WIDTH)), _decode), NUM_CLASSES)


def _decode() -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for name in SPLITS:
        split = load_split("mnist", "ylecun/mnist", name, ("image.bytes", "label"))
        arrays[f"y_{name}"] = decode_labels(split, "label", NUM_CLASSES)
        arrays[f"x_{name}"] = decode_images(split, "image", "L", HEIGHT, WIDTH)
    return arrays
