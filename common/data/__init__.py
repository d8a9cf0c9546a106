"""Data set name -> arrays. One file per source of data."""

from common.data.ag_news import ag_news
from common.data.arrays import ArrayDataset, ImageDataset
from common.data.femnist import femnist
from common.data.images import load_images
from common.data.mnist import mnist
from common.data.synthetic import synthetic, synthetic_iid
from common.data.texts import TextDataset

__all__ = [
    "ArrayDataset",
    "ImageDataset",
    "TextDataset",
    "load",
    "load_images",
    "load_texts",
    "synthetic",
    "synthetic_iid",
]

_LOADERS = {"femnist": femnist, "mnist": mnist}
_TEXT_LOADERS = {"ag_news": ag_news}


def load(name: str) -> ArrayDataset:
    """Return a data set stored in ``$FLOWERBED_DATA/<name>/<split>.parquet``, else the hub's.

    Those of :mod:`common.data.synthetic` are generated, from parameters, and so have functions of
    their own.

    Args:
        name: "femnist" or "mnist".

    Raises:
        UserInputError: The data set is neither on disk nor reachable, or damaged, or not what its
            name says; or the cache folder cannot be used.
        KeyError: There is no loader of that name.
    """
    return _LOADERS[name]()


def load_texts(name: str) -> TextDataset:
    """Return texts stored in ``$FLOWERBED_DATA/<name>/<split>.parquet``, else the hub's.

    Args:
        name: "ag_news".

    Raises:
        UserInputError: The data set is neither on disk nor reachable, or damaged, or not what its
            name says.
        KeyError: There is no loader of texts of that name.
    """
    return _TEXT_LOADERS[name]()
