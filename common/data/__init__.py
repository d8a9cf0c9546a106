"""Data set name -> arrays. One file per source of data."""

from common.data.arrays import ArrayDataset
from common.data.mnist import mnist
from common.data.synthetic import synthetic

__all__ = ["ArrayDataset", "load", "synthetic"]

_LOADERS = {"mnist": mnist}


def load(name: str) -> ArrayDataset:
    """Load a stored data set from ``$FLOWERBED_DATA/<name>/<split>.parquet``, else from the hub.

    :func:`synthetic` is generated, from parameters, and so has a function of its own.

    Raises:
        UserInputError: The data set is neither on disk nor reachable, or damaged, or not what its
            name says; or the cache folder cannot be used.
        KeyError: There is no loader of that name.
    """
    return _LOADERS[name]()
