"""Data set name -> arrays. One file per source of data."""

from common.data.arrays import ArrayDataset, ImageDataset
from common.data.femnist import femnist
from common.data.images import load_images
from common.data.mnist import mnist
from common.data.synthetic import synthetic, synthetic_iid

__all__ = ["ArrayDataset", "ImageDataset", "load", "load_images", "synthetic", "synthetic_iid"]

_LOADERS = {"femnist": femnist, "mnist": mnist}


def load(name: str) -> ArrayDataset:
    """Load a stored data set from ``$FLOWERBED_DATA/<name>/<split>.parquet``, else from the hub.

    :func:`synthetic` and :func:`synthetic_iid` are generated, from parameters, and so have
    functions of their own.

    Raises:
        UserInputError: The data set is neither on disk nor reachable, or damaged, or not what its
            name says; or the cache folder cannot be used.
        KeyError: There is no loader of that name.
    """
    return _LOADERS[name]()
