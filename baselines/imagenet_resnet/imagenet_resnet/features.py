"""What frozen layers make of every image, computed once and kept on disk."""

from collections.abc import Callable
from typing import Final

from torch import Tensor, nn

from common.features import Floats, FrozenLayers, cached_features
from common.inputs import Inputs
from common.memory_format import use_channels_last

# Images at a time.
_CHUNK: Final = 64


def trunk_features(
    make_trunk: Callable[[], nn.Module], images: Inputs, shape: tuple[int, ...], key: str
) -> Floats:
    """Return the frozen layers' output for every image, memory-mapped.

    Args:
        make_trunk: Makes the frozen layers, on the device of ``images``; called only if there are
            no features yet.
        images: The network's inputs.
        shape: That of an image's features.
        key: As for :func:`common.features.cached_features`.

    Returns:
        float32, ``shape [images, *shape]``.

    Raises:
        UserInputError: The cache folder cannot be used.
    """

    def make_frozen_layers() -> FrozenLayers:
        trunk = make_trunk()
        use_channels_last(trunk)

        def features_of(examples: Tensor) -> Floats:
            features: Floats = trunk(images.take(examples)).cpu().numpy()
            return features

        return features_of

    num_images = len(images)
    return cached_features(
        make_frozen_layers,
        key,
        num_examples=num_images,
        num_rows=num_images,
        row_shape=shape,
        chunk=_CHUNK,
    )
