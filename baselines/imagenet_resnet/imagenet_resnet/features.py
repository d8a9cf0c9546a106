"""What frozen layers make of every image, computed once and kept on disk."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.data.cache import memory_mapped
from common.data.npy import Layout
from common.inputs import Inputs
from common.memory_format import use_channels_last
from common.threads import use_one_thread

Floats = NDArray[np.float32]

# Images at a time; a feature's last digits may depend on it.
_CHUNK = 64
_NAME = "features"


def cached_features(
    make_trunk: Callable[[], nn.Module], images: Inputs, shape: tuple[int, ...], key: str
) -> Floats:
    """Return the frozen layers' output for every image, memory-mapped.

    In evaluation mode it is a function of the image alone: once is enough for all clients, rounds
    and runs.

    Args:
        make_trunk: Makes the frozen layers, on the device of ``images``; called only if there are
            no features yet.
        images: The network's inputs.
        shape: That of an image's features.
        key: Names images, layers and weights; one with other features must have another.

    Returns:
        float32, shape [images, *shape].

    Raises:
        UserInputError: The cache folder cannot be used.
    """
    layouts = {_NAME: Layout(np.float32, shape)}
    return memory_mapped(key, layouts, lambda: {_NAME: _run(make_trunk(), images)})[_NAME]


def _run(trunk: nn.Module, images: Inputs) -> Floats:
    use_one_thread()
    use_channels_last(trunk)

    def features_of(chunk: Tensor) -> Floats:
        with torch.inference_mode():
            return np.ascontiguousarray(trunk(images.take(chunk)).cpu().numpy())

    # Threads, for PyTorch leaves Python's lock alone while it computes.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        chunks = torch.split(torch.arange(len(images)), _CHUNK)
        return np.concatenate(list(threads.map(features_of, chunks)))
