"""MNIST (LeCun et al. 1998), the official split."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from common.data.arrays import ArrayDataset
from common.data.store import fingerprint, load_table, memory_mapped

SPLITS = ("train", "test")
NUM_CLASSES = 10


def mnist() -> ArrayDataset:
    """Load MNIST from ``$FLOWERBED_DATA/mnist`` or the hub.

    Returns:
        Images uint8 [60000, 28, 28] and [10000, 28, 28], labels int64, ten classes.

    Raises:
        UserInputError: It is neither on disk nor reachable.
    """
    arrays = memory_mapped(f"mnist-{fingerprint('mnist', SPLITS)}", _decode)
    return ArrayDataset(
        x_train=arrays["x_train"],
        y_train=arrays["y_train"],
        x_test=arrays["x_test"],
        y_test=arrays["y_test"],
        num_classes=NUM_CLASSES,
    )


def _decode() -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for split in SPLITS:
        table = load_table("mnist", "ylecun/mnist", split)
        arrays[f"x_{split}"] = _images(table)
        arrays[f"y_{split}"] = table["label"].to_numpy().astype(np.int64)
    return arrays


def _images(table: pa.Table) -> NDArray[np.uint8]:
    encoded = pa.compute.struct_field(table["image"], "bytes").to_pylist()
    images = np.empty((len(encoded), 28, 28), dtype=np.uint8)
    for i, png in enumerate(encoded):
        images[i] = np.asarray(Image.open(io.BytesIO(png)))
    return images
