"""What frozen layers make of every image, computed once and kept on disk."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.data.cache import ArrayWriter, memory_mapped_in_parts
from common.data.npy import Layout
from common.data.progress import OnceProgress
from common.inputs import Inputs
from common.memory_format import use_channels_last
from common.parallel import map_in_order
from common.threads import use_one_thread

Floats = NDArray[np.float32]

# Images at a time; a feature's last digits may depend on it.
_CHUNK: Final = 64
_NAME: Final = "features"


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

    def run(writer: ArrayWriter) -> list[str]:
        trunk = make_trunk()  # Which may be refused.
        writer.require_space(len(images))
        with OnceProgress("computing the frozen layers' features", len(images)) as progress:
            for features in _features(trunk, images):
                writer.append({_NAME: features})
                progress.advance(len(features))
        return []

    layouts = {_NAME: Layout(np.float32, shape)}
    return memory_mapped_in_parts(key, layouts, run).arrays[_NAME]


def _features(trunk: nn.Module, images: Inputs) -> Iterator[Floats]:
    use_one_thread()
    use_channels_last(trunk)

    def features_of(chunk: Tensor) -> Floats:
        with torch.inference_mode():
            return np.ascontiguousarray(trunk(images.take(chunk)).cpu().numpy())

    return map_in_order(features_of, torch.split(torch.arange(len(images)), _CHUNK))
