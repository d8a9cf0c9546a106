"""Stored images -> inputs of the network, and the augmentation of training images."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

# Mean and standard deviation of red, green and blue, of values in [0, 1].
Colours = tuple[tuple[float, float, float], tuple[float, float, float]]
# Of ImageNet's training images, as torchvision's weights were trained with.
IMAGENET_COLOURS: Final[Colours] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10_COLOURS: Final[Colours] = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def normalise(images: Tensor, colours: Colours) -> Tensor:
    """Return images with channels first, scaled to [0, 1] and then standardised.

    Args:
        images: uint8, shape [batch, height, width, 3].
        colours: Of the training images.

    Returns:
        float32, shape [batch, 3, height, width], in channels-last memory format.
    """
    x = images.permute(0, 3, 1, 2).to(torch.float32)
    mean, std = (torch.tensor(of, device=x.device).view(3, 1, 1) for of in colours)
    return x.sub_(255 * mean).div_(255 * std)


def crop_and_flip(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Cut each image out of itself with a border of an eighth, and mirror half of them.

    For 32 pixels it is a border of 4, as He et al. 2016 (arXiv 1512.03385, section 4.2) have it
    for CIFAR-10; the border is black.

    Args:
        images: uint8, shape [batch, size, size, 3].
        rng: Source of randomness.

    Returns:
        uint8, shape [batch, size, size, 3].
    """
    n, size = images.shape[:2]
    border = size // 8
    padded = torch.nn.functional.pad(images, (0, 0, border, border, border, border))
    corners = torch.from_numpy(rng.integers(0, 2 * border + 1, (2, n, 1)))
    rows, columns = corners + torch.arange(size)
    mirrored = torch.from_numpy(rng.random(n) < 0.5)
    columns[mirrored] = columns[mirrored].flip(1)
    batch = torch.arange(n)[:, None, None]
    return padded[batch, rows[:, :, None], columns[:, None, :]]
