"""How stored numbers become inputs.

MNIST's pixels do it as in the authors' code, or as is usual elsewhere. It matters: see the
experiment "normalisation".
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from common.data import load
from fedprox.config import FedProxConfig

Floats = NDArray[np.float32]

# Mean and standard deviation of all training pixels of MNIST, on the scale 0..255.
_MNIST_MEAN, _MNIST_STD = 33.3184, 78.5675


def normalisation(config: FedProxConfig) -> tuple[Floats, Floats]:
    """Return what to subtract from every stored number, and what to divide by after that.

    FEMNIST is scaled to 0..1, as by the authors' generator; synthetic data stay as they are.

    Returns:
        Two float32 arrays, each of one number or of one a feature.
    """
    if config.dataset == "mnist":
        return mnist_normalisation(config.normalisation)
    scale = 255 if config.dataset == "femnist" else 1
    return np.zeros((), np.float32), np.full((), scale, np.float32)


def mnist_normalisation(kind: str) -> tuple[Floats, Floats]:
    """Return what to subtract from every pixel (0..255), and what to divide by after that.

    Args:
        kind: "per_pixel" standardises every pixel by itself, (x - mean) / (std + 0.001), as the
            authors' generator does; the statistics here are those of the training images, there
            those of all 70,000. "global" takes one mean and deviation for all pixels.

    Returns:
        Two float32 arrays, of shape [784] or [].
    """
    if kind == "global":
        return np.asarray(_MNIST_MEAN, np.float32), np.asarray(_MNIST_STD, np.float32)
    return _per_pixel()


@lru_cache(maxsize=1)
def _per_pixel() -> tuple[Floats, Floats]:
    pixels = load("mnist").x_train.reshape(-1, 28 * 28)
    mean = pixels.sum(axis=0, dtype=np.int64) / len(pixels)
    # In pieces, for 60,000 images of squares would take 376 MB in every worker.
    squares = sum(
        np.square(part, dtype=np.int64).sum(axis=0) for part in np.array_split(pixels, 60)
    )
    std = np.sqrt(squares / len(pixels) - mean**2)
    return mean.astype(np.float32), (std + 0.001).astype(np.float32)
