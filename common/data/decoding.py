"""Encoded images -> arrays, in parallel, in order and in little memory."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.data.image_file import CorruptImageError, EvaluationTransform, decode_image
from common.data.image_split import EncodedImage
from common.parallel import map_in_order

# Enough for a thread to be worth a call.
_PART: Final = 16


class DecodedPart(NamedTuple):
    """Some consecutive images of a split.

    Attributes:
        images: Those that could be decoded, uint8 [images, side, side, 3].
        labels: Their labels, int64 [images].
        corrupt: Which could not, and why.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    corrupt: list[str]

    @property
    def num_seen(self) -> int:
        """Number of images, corrupt ones among them."""
        return len(self.labels) + len(self.corrupt)


def decode_in_parallel(
    images: Iterable[EncodedImage], transform: EvaluationTransform
) -> Iterator[DecodedPart]:
    """Decode images on all cores, reading no more of them than the threads have to do.

    Args:
        images: In the order in which they are wanted.
        transform: Applied to each.

    Yields:
        Some images at a time, in that order.
    """
    remaining = iter(images)
    parts = iter(lambda: list(islice(remaining, _PART)), [])
    yield from map_in_order(partial(_decode, transform=transform), parts)


def _decode(part: Sequence[EncodedImage], transform: EvaluationTransform) -> DecodedPart:
    images = np.empty((len(part), transform.crop, transform.crop, 3), np.uint8)
    labels: list[int] = []
    corrupt: list[str] = []
    for image in part:
        try:
            images[len(labels)] = decode_image(image.file, transform)
        except CorruptImageError as error:
            corrupt.append(f"{image.name} is {error}")
        else:
            labels.append(image.label)
    return DecodedPart(images[: len(labels)], np.array(labels, np.int64), corrupt)
